//! Arithmetic and algebraic expressions: a recursive-descent parser over tokens with a bounded depth.
//!
//! Grammar: sums of products of powers. A factor that follows another without a sign multiplies; a whole number
//! before a proper fraction of whole numbers is a mixed number (`1\frac{4}{5}` is 1.8), as competition answers use
//! it.

use crate::func::Func;
use crate::number::Ratio;
use crate::token::{Decimal, Read, Token};

/// Deeper nesting is refused.
const MAX_DEPTH: usize = 40;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Number(Decimal),
    Var(String),
    Pi,
    Infinity,
    Neg(Box<Self>),
    Add(Box<Self>, Box<Self>),
    Mul(Box<Self>, Box<Self>),
    Div(Box<Self>, Box<Self>),
    Pow(Box<Self>, Box<Self>),
    /// Degree, then what is under the root.
    Root(Box<Self>, Box<Self>),
    Abs(Box<Self>),
    Factorial(Box<Self>),
    Binom(Box<Self>, Box<Self>),
    Degree(Box<Self>),
    Func(Func, Box<Self>),
    /// Base, then argument.
    Log(Box<Self>, Box<Self>),
}

impl Expr {
    pub(crate) fn whole(n: i128) -> Self {
        Self::Number(Decimal { value: Ratio::whole(n), places: 0, digits: n.to_string() })
    }

    /// `+1` or `-1` where it is plus or minus infinity.
    pub(crate) fn infinity(&self) -> Option<i8> {
        match self {
            Self::Infinity => Some(1),
            Self::Neg(inner) => inner.infinity().map(|sign| -sign),
            _ => None,
        }
    }
}

/// Reads an expression from the front of `tokens`; also says how many tokens it took.
pub(crate) fn parse(tokens: &[Token]) -> Read<(Expr, usize)> {
    let mut parser = Parser { tokens, at: 0, depth: 0, bars: 0, spent: 0 };
    let expr = parser.sum()?;
    Ok((expr, parser.at))
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    /// Open absolute values, within which a bar closes.
    bars: usize,
    /// Digits already taken from the number at `at`, for `\frac12`.
    spent: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, wanted: &Token) -> Read<()> {
        if self.take(wanted) { Ok(()) } else { Err("a bracket is not closed") }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the answer is nested too deeply");
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn sum(&mut self) -> Read<Expr> {
        self.deeper(|p| {
            let mut left = p.product()?;
            loop {
                if p.take(&Token::Plus) {
                    left = Expr::Add(left.into(), p.product()?.into());
                } else if p.take(&Token::Minus) {
                    left = Expr::Add(left.into(), Expr::Neg(p.product()?.into()).into());
                } else {
                    return Ok(left);
                }
            }
        })
    }

    fn product(&mut self) -> Read<Expr> {
        let mut left = self.unary()?;
        loop {
            if self.take(&Token::Times) {
                left = Expr::Mul(left.into(), self.unary()?.into());
            } else if self.peek() == Some(&Token::Slash) && self.starts_factor(self.at + 1, true) {
                self.at += 1;
                left = Expr::Div(left.into(), self.unary()?.into());
                if self.starts_factor(self.at, false) {
                    return Err("a product behind a slash can be read in two ways");
                }
            } else if self.starts_factor(self.at, false) {
                left = Expr::Mul(left.into(), self.power()?.into());
            } else {
                return Ok(left);
            }
        }
    }

    /// Whether a factor begins at `at`; `number` and signs only after an operator.
    fn starts_factor(&self, at: usize, after_operator: bool) -> bool {
        match self.tokens.get(at) {
            Some(Token::Number(_) | Token::Minus | Token::Plus) => after_operator || self.spent > 0,
            Some(Token::Bar) => self.bars == 0 || after_operator,
            Some(
                Token::Var(_)
                | Token::Func(_)
                | Token::Frac
                | Token::Binom
                | Token::Sqrt
                | Token::Pi
                | Token::Infinity
                | Token::Open('(' | '[')
                | Token::GroupOpen,
            ) => true,
            _ => false,
        }
    }

    fn unary(&mut self) -> Read<Expr> {
        if self.take(&Token::Minus) {
            return self.deeper(|p| Ok(Expr::Neg(p.unary()?.into())));
        }
        if self.take(&Token::Plus) {
            return self.deeper(Self::unary);
        }
        self.power()
    }

    fn power(&mut self) -> Read<Expr> {
        let mut base = self.primary()?;
        loop {
            if self.take(&Token::Bang) {
                base = Expr::Factorial(base.into());
            } else if self.take(&Token::Degree) {
                base = Expr::Degree(base.into());
            } else if self.take(&Token::Caret) {
                let exponent = self.deeper(Self::exponent)?;
                base = Expr::Pow(base.into(), exponent.into());
            } else {
                return Ok(base);
            }
        }
    }

    fn exponent(&mut self) -> Read<Expr> {
        if self.take(&Token::Minus) {
            return self.deeper(|p| Ok(Expr::Neg(p.exponent()?.into())));
        }
        let base = self.primary()?;
        if !self.take(&Token::Caret) {
            return Ok(base);
        }
        let exponent = self.deeper(Self::exponent)?;
        Ok(Expr::Pow(base.into(), exponent.into()))
    }

    fn primary(&mut self) -> Read<Expr> {
        let token = self.peek().cloned().ok_or("a term is missing")?;
        if let Token::Number(number) = token {
            return self.number(number);
        }
        self.at += 1;
        match token {
            Token::Var(name) => self.variable(name),
            Token::Pi => Ok(Expr::Pi),
            Token::Infinity => Ok(Expr::Infinity),
            Token::Open('(') => self.closed(&Token::Close(')')),
            Token::Open('[') => self.closed(&Token::Close(']')),
            Token::GroupOpen => self.closed(&Token::GroupClose),
            Token::Bar => self.absolute(),
            Token::Frac => Ok(Expr::Div(self.argument()?.into(), self.argument()?.into())),
            Token::Binom => Ok(Expr::Binom(self.argument()?.into(), self.argument()?.into())),
            Token::Sqrt => self.root(),
            Token::Func(func) => self.deeper(|p| p.function(func)),
            _ => Err("a term is missing"),
        }
    }

    fn closed(&mut self, close: &Token) -> Read<Expr> {
        let bars = std::mem::take(&mut self.bars);
        let inner = self.sum()?;
        self.bars = bars;
        self.need(close)?;
        Ok(inner)
    }

    fn absolute(&mut self) -> Read<Expr> {
        self.bars += 1;
        let inner = self.sum()?;
        self.bars -= 1;
        self.need(&Token::Bar)?;
        Ok(Expr::Abs(inner.into()))
    }

    /// A number, or a mixed number.
    fn number(&mut self, number: Decimal) -> Read<Expr> {
        let number = self.remainder(number)?;
        self.at += 1;
        if self.peek() == Some(&Token::Under) {
            return Err("a number in another base stands within an expression");
        }
        let whole = Expr::Number(number.clone());
        if number.places > 0 || number.value.integer().is_none() {
            return Ok(whole);
        }
        match self.fraction()? {
            Some(fraction) => Ok(Expr::Add(whole.into(), fraction.into())),
            None => Ok(whole),
        }
    }

    /// A proper fraction of whole numbers that follows a whole number: `\frac{4}{5}` or `4/5`.
    fn fraction(&mut self) -> Read<Option<Expr>> {
        let from = self.at;
        let parts = match self.tokens.get(from..) {
            Some([Token::Frac, ..]) => {
                self.at += 1;
                Some((self.argument()?, self.argument()?))
            }
            Some([Token::Number(n), Token::Slash, Token::Number(d), ..]) => {
                self.at += 3;
                Some((Expr::Number(n.clone()), Expr::Number(d.clone())))
            }
            _ => None,
        };
        if let Some((Expr::Number(n), Expr::Number(d))) = &parts
            && let (Some(over), Some(under)) = (n.value.integer(), d.value.integer())
            && over < under
        {
            return Ok(parts.map(|(n, d)| Expr::Div(n.into(), d.into())));
        }
        (self.at, self.spent) = (from, 0);
        Ok(None)
    }

    /// What is left of a number whose first digit `\frac` took.
    fn remainder(&mut self, number: Decimal) -> Read<Decimal> {
        let spent = std::mem::take(&mut self.spent);
        if spent == 0 {
            return Ok(number);
        }
        let digits = number.digits[spent..].to_owned();
        let value = digits.parse().map(Ratio::whole).map_err(|_| "a number is too long")?;
        Ok(Decimal { value, places: 0, digits })
    }

    fn variable(&mut self, name: String) -> Read<Expr> {
        if !self.take(&Token::Under) {
            return Ok(Expr::Var(name));
        }
        let group = self.take(&Token::GroupOpen);
        let index = match self.peek() {
            Some(Token::Var(index) | Token::Word(index)) => index.clone(),
            Some(Token::Number(number)) => number.digits.clone(),
            _ => return Err("an index is not a name or a number"),
        };
        self.at += 1;
        if group {
            self.need(&Token::GroupClose)?;
        }
        Ok(Expr::Var(format!("{name}_{index}")))
    }

    /// An argument of `\frac`: a group, one digit, or one other term.
    fn argument(&mut self) -> Read<Expr> {
        let Some(Token::Number(number)) = self.peek().cloned() else { return self.deeper(Self::primary) };
        let left = self.remainder_view(&number);
        if number.places > 0 || left.len() == 1 {
            self.spent = 0;
            self.at += 1;
        } else {
            self.spent += 1;
        }
        if number.places > 0 {
            return Ok(Expr::Number(number));
        }
        let digit = left.bytes().next().map_or(0, |digit| i128::from(digit - b'0'));
        Ok(Expr::whole(digit))
    }

    fn remainder_view<'d>(&self, number: &'d Decimal) -> &'d str {
        number.digits.get(self.spent..).unwrap_or("")
    }

    fn root(&mut self) -> Read<Expr> {
        let degree = if self.take(&Token::Open('[')) { self.closed(&Token::Close(']'))? } else { Expr::whole(2) };
        let inner = match self.peek().cloned() {
            Some(Token::Number(number)) => {
                self.at += 1;
                Expr::Number(number)
            }
            _ => self.deeper(Self::primary)?,
        };
        Ok(Expr::Root(degree.into(), inner.into()))
    }

    /// `\sin^2 2x`, `\log_2 8`: the argument is a bracket, or the factors up to the next function or bracket.
    fn function(&mut self, func: Func) -> Read<Expr> {
        let base = match func {
            Func::Log if self.take(&Token::Under) => Some(self.argument()?),
            _ => None,
        };
        let power = if self.take(&Token::Caret) { Some(self.deeper(Self::exponent)?) } else { None };
        let argument = self.function_argument()?;
        let value = match base {
            Some(base) => Expr::Log(base.into(), argument.into()),
            None => Expr::Func(func, argument.into()),
        };
        match power {
            Some(Expr::Neg(_)) => Err("an inverse function and a reciprocal look the same"),
            Some(power) => Ok(Expr::Pow(value.into(), power.into())),
            None => Ok(value),
        }
    }

    fn function_argument(&mut self) -> Read<Expr> {
        if matches!(self.peek(), Some(Token::Open('(') | Token::GroupOpen)) {
            return self.primary();
        }
        let mut argument = self.unary()?;
        while matches!(self.peek(), Some(Token::Var(_) | Token::Pi | Token::Frac | Token::Sqrt)) {
            argument = Expr::Mul(argument.into(), self.power()?.into());
        }
        Ok(argument)
    }
}
