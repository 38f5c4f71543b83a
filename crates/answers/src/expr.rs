//! Arithmetic and algebraic expressions: a recursive-descent parser over tokens with a bounded depth.
//!
//! Grammar: sums of products of powers. A factor that follows another without a sign multiplies; a whole number
//! before a proper fraction of whole numbers is a mixed number (`1\frac{4}{5}` is 1.8), as competition answers use
//! it.

use crate::number::{Decimal, whole_number};
use crate::op::Op;
use crate::token::{Bracket, Read, Token};

/// Deeper nesting is refused.
const MAX_DEPTH: usize = 40;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Number(Decimal),
    Var(String),
    Apply(Op, Vec<Self>),
}

impl Expr {
    pub(crate) fn of(op: Op, args: impl Into<Vec<Self>>) -> Self {
        Self::Apply(op, args.into())
    }

    pub(crate) fn whole(n: u32) -> Self {
        Self::Number(Decimal { value: whole_number(n), places: 0, digits: n.to_string() })
    }

    /// `+1` or `-1` where it is plus or minus infinity.
    pub(crate) fn infinity(&self) -> Option<i8> {
        match self {
            Self::Apply(Op::Infinity, _) => Some(1),
            Self::Apply(Op::Neg, inner) => inner[0].infinity().map(|sign| -sign),
            _ => None,
        }
    }

    /// Whether it has a variable besides the numbers `e` and `i`.
    pub(crate) fn has_variable(&self) -> bool {
        match self {
            Self::Number(_) => false,
            Self::Var(name) => name != "e" && name != "i",
            Self::Apply(_, args) => args.iter().any(Self::has_variable),
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

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, wanted: &Token) -> Read<()> {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found.then_some(()).ok_or("a bracket is not closed")
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
                if p.take('+') {
                    left = Expr::of(Op::Add, [left, p.product()?]);
                } else if p.take('-') {
                    left = Expr::of(Op::Add, [left, Expr::of(Op::Neg, [p.product()?])]);
                } else {
                    return Ok(left);
                }
            }
        })
    }

    fn product(&mut self) -> Read<Expr> {
        let mut left = self.unary()?;
        loop {
            if self.take('×') {
                left = Expr::of(Op::Mul, [left, self.unary()?]);
            } else if self.peek() == Some(&Token::Sign('/')) && self.starts_factor(self.at + 1, true) {
                self.at += 1;
                left = Expr::of(Op::Div, [left, self.unary()?]);
                if self.starts_factor(self.at, false) {
                    return Err("a product behind a slash can be read in two ways");
                }
            } else if self.starts_factor(self.at, false) {
                left = Expr::of(Op::Mul, [left, self.power()?]);
            } else {
                return Ok(left);
            }
        }
    }

    /// Whether a factor begins at `at`; numbers and signs only after an operator.
    fn starts_factor(&self, at: usize, after_operator: bool) -> bool {
        match self.tokens.get(at) {
            Some(Token::Number(_) | Token::Sign('-' | '+')) => after_operator || self.spent > 0,
            Some(Token::Sign('|')) => self.bars == 0 || after_operator,
            Some(Token::Open(bracket)) => *bracket != Bracket::Curly && *bracket != Bracket::Matrix,
            Some(Token::Var(_) | Token::Function(_) | Token::Command(_) | Token::Sign('√' | 'π' | '∞')) => true,
            _ => false,
        }
    }

    fn unary(&mut self) -> Read<Expr> {
        if self.take('-') {
            return self.deeper(|p| Ok(Expr::of(Op::Neg, [p.unary()?])));
        }
        if self.take('+') {
            return self.deeper(Self::unary);
        }
        self.power()
    }

    fn power(&mut self) -> Read<Expr> {
        let mut base = self.primary()?;
        loop {
            if self.take('!') {
                base = Expr::of(Op::Factorial, [base]);
            } else if self.take('°') {
                base = Expr::of(Op::Degree, [base]);
            } else if self.take('^') {
                base = Expr::of(Op::Pow, [base, self.deeper(Self::exponent)?]);
            } else {
                return Ok(base);
            }
        }
    }

    fn exponent(&mut self) -> Read<Expr> {
        if self.take('-') {
            return self.deeper(|p| Ok(Expr::of(Op::Neg, [p.exponent()?])));
        }
        let base = self.primary()?;
        if self.take('^') { Ok(Expr::of(Op::Pow, [base, self.deeper(Self::exponent)?])) } else { Ok(base) }
    }

    fn primary(&mut self) -> Read<Expr> {
        let token = self.peek().ok_or("a term is missing")?;
        if let Token::Number(number) = token {
            return self.number(number);
        }
        self.at += 1;
        match token {
            Token::Var(name) => self.variable(name),
            Token::Sign('π') => Ok(Expr::of(Op::Pi, [])),
            Token::Sign('∞') => Ok(Expr::of(Op::Infinity, [])),
            Token::Sign('√') => self.root(),
            Token::Sign('|') => self.absolute(),
            Token::Open(bracket @ (Bracket::Round | Bracket::Square | Bracket::Group)) => self.closed(*bracket),
            Token::Command(op) => Ok(Expr::of(*op, [self.argument()?, self.argument()?])),
            Token::Function(op) => self.deeper(|p| p.function(*op)),
            _ => Err("a term is missing"),
        }
    }

    fn closed(&mut self, bracket: Bracket) -> Read<Expr> {
        let bars = std::mem::take(&mut self.bars);
        let inner = self.sum()?;
        self.bars = bars;
        self.need(&Token::Close(bracket))?;
        Ok(inner)
    }

    fn absolute(&mut self) -> Read<Expr> {
        self.bars += 1;
        let inner = self.sum()?;
        self.bars -= 1;
        self.need(&Token::Sign('|'))?;
        Ok(Expr::of(Op::Abs, [inner]))
    }

    /// A number, or a mixed number.
    fn number(&mut self, number: &Decimal) -> Read<Expr> {
        // What is left of a number whose first digits `\frac` took.
        let number = match std::mem::take(&mut self.spent) {
            0 => number.clone(),
            spent => Decimal::new(&number.digits[spent..], 0, 0).ok_or("a number is too long")?,
        };
        self.at += 1;
        if self.peek() == Some(&Token::Sign('_')) {
            return Err("a number in another base stands within an expression");
        }
        let may_be_mixed = number.places == 0 && number.value.is_integer();
        let whole = Expr::Number(number);
        match if may_be_mixed { self.fraction()? } else { None } {
            Some(fraction) => Ok(Expr::of(Op::Add, [whole, fraction])),
            None => Ok(whole),
        }
    }

    /// A proper fraction of whole numbers that follows a whole number: `\frac{4}{5}` or `4/5`.
    fn fraction(&mut self) -> Read<Option<Expr>> {
        let from = self.at;
        let parts = match &self.tokens[from..] {
            [Token::Command(Op::Div), ..] => {
                self.at += 1;
                [self.argument()?, self.argument()?]
            }
            [Token::Number(n), Token::Sign('/'), Token::Number(d), ..] => {
                self.at += 3;
                [Expr::Number(n.clone()), Expr::Number(d.clone())]
            }
            _ => return Ok(None),
        };
        if let [Expr::Number(n), Expr::Number(d)] = &parts
            && n.value.is_integer()
            && d.value.is_integer()
            && n.value < d.value
        {
            return Ok(Some(Expr::of(Op::Div, parts)));
        }
        (self.at, self.spent) = (from, 0);
        Ok(None)
    }

    fn variable(&mut self, name: &str) -> Read<Expr> {
        if !self.take('_') {
            return Ok(Expr::Var(name.to_owned()));
        }
        let group = self.peek() == Some(&Token::Open(Bracket::Group));
        self.at += usize::from(group);
        let index = match self.peek() {
            Some(Token::Var(index) | Token::Word(index)) => index,
            Some(Token::Number(number)) => &number.digits,
            _ => return Err("an index is not a name or a number"),
        };
        self.at += 1;
        if group {
            self.need(&Token::Close(Bracket::Group))?;
        }
        Ok(Expr::Var(format!("{name}_{index}")))
    }

    /// An argument of `\frac`: a group, one digit, or one other term.
    fn argument(&mut self) -> Read<Expr> {
        let Some(Token::Number(number)) = self.peek() else { return self.deeper(Self::primary) };
        let left = number.digits.get(self.spent..).unwrap_or("");
        if number.places > 0 || left.len() == 1 {
            self.spent = 0;
            self.at += 1;
        } else {
            self.spent += 1;
        }
        if number.places > 0 {
            return Ok(Expr::Number(number.clone()));
        }
        Ok(Expr::whole(left.bytes().next().map_or(0, |digit| u32::from(digit - b'0'))))
    }

    fn root(&mut self) -> Read<Expr> {
        let degree = if self.peek() == Some(&Token::Open(Bracket::Square)) {
            self.at += 1;
            self.closed(Bracket::Square)?
        } else {
            Expr::whole(2)
        };
        let inner = match self.peek() {
            Some(Token::Number(number)) => {
                self.at += 1;
                Expr::Number(number.clone())
            }
            _ => self.deeper(Self::primary)?,
        };
        Ok(Expr::of(Op::Root, [degree, inner]))
    }

    /// `\sin^2 2x`, `\log_2 8`: the argument is a bracket, or the factors up to the next function or bracket.
    fn function(&mut self, op: Op) -> Read<Expr> {
        let base = if op == Op::Log && self.take('_') { Some(self.argument()?) } else { None };
        let power = if self.take('^') { Some(self.deeper(Self::exponent)?) } else { None };
        let argument = self.function_argument()?;
        let value = match base {
            Some(base) => Expr::of(Op::LogBase, [base, argument]),
            None => Expr::of(op, [argument]),
        };
        match power {
            Some(Expr::Apply(Op::Neg, _)) => Err("an inverse function and a reciprocal look the same"),
            Some(power) => Ok(Expr::of(Op::Pow, [value, power])),
            None => Ok(value),
        }
    }

    fn function_argument(&mut self) -> Read<Expr> {
        if matches!(self.peek(), Some(Token::Open(Bracket::Round | Bracket::Group))) {
            return self.primary();
        }
        let mut argument = self.unary()?;
        while matches!(self.peek(), Some(Token::Var(_) | Token::Command(Op::Div) | Token::Sign('π' | '√'))) {
            argument = Expr::of(Op::Mul, [argument, self.power()?]);
        }
        Ok(argument)
    }
}
