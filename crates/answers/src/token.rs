//! An answer as it is written (LaTeX, plain text, a few Unicode signs) into tokens.
//!
//! What only changes the look (`\left`, `\!`, `$`, currency signs) is dropped here. A command that is not known makes
//! the answer unreadable: it is never skipped, since what it means is not known either.

use crate::func::Func;
use crate::number::Ratio;

/// Why an answer cannot be read.
pub(crate) type Read<T> = Result<T, &'static str>;

/// Longer answers are not read.
const MAX_BYTES: usize = 2_000;
/// Answers of more tokens are not read.
const MAX_TOKENS: usize = 800;

/// A number as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decimal {
    pub(crate) value: Ratio,
    /// Digits behind the point.
    pub(crate) places: u32,
    /// The digits without separators.
    pub(crate) digits: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Number(Decimal),
    Var(String),
    Word(String),
    Func(Func),
    Frac,
    Binom,
    Sqrt,
    Pi,
    Infinity,
    Plus,
    Minus,
    PlusMinus,
    MinusPlus,
    Times,
    Slash,
    Caret,
    Under,
    Bang,
    Bar,
    Percent,
    Degree,
    Comma,
    Relation(Relation),
    In,
    Cup,
    /// `(`, `[` or `{` for `\{`.
    Open(char),
    Close(char),
    /// A bare brace of LaTeX.
    GroupOpen,
    GroupClose,
    MatrixOpen,
    MatrixClose,
    Cell,
    RowEnd,
}

/// Units of three letters or fewer that are written without `\text`.
const SHORT_UNITS: &[&str] = &[
    "cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "mph", "kmh", "sec", "hr", "hrs", "min", "lb", "lbs", "oz", "yd",
    "mi", "sq", "st", "nd", "rd", "th", "am", "pm", "Rs", "USD", "per", "cts",
];
const GREEK: &[&str] = &[
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "ell",
];
const LOOKS: &[&str] = &[
    "left",
    "right",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "displaystyle",
    "textstyle",
    "quad",
    "qquad",
    "limits",
    "hspace",
    "hfill",
    "bf",
    "rm",
    "it",
];
const TEXTS: &[&str] = &[
    "text",
    "mbox",
    "hbox",
    "textrm",
    "textbf",
    "textit",
    "texttt",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mathbb",
    "operatorname",
    "boldsymbol",
];
const MATRICES: &[&str] = &["matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "smallmatrix", "array"];

/// The tokens of `text`.
pub(crate) fn tokens(text: &str) -> Read<Vec<Token>> {
    if text.len() > MAX_BYTES {
        return Err("the answer is too long to be one");
    }
    let text = text
        .replace("{,}", "\u{1}")
        .replace(",\\!", "\u{1}")
        .replace("\\,", "\u{2}")
        .replace("^{\\circ}", "°")
        .replace("^\\circ", "°")
        .replace("^\\degree", "°");
    let mut scan = Scan { rest: text.trim(), out: Vec::new(), depth: 0 };
    scan.all()?;
    Ok(scan.out)
}

struct Scan<'a> {
    rest: &'a str,
    out: Vec<Token>,
    /// Open brackets; within them a comma separates, outside it may also group digits.
    depth: usize,
}

impl<'a> Scan<'a> {
    fn all(&mut self) -> Read<()> {
        while let Some(c) = self.rest.chars().next() {
            if self.out.len() >= MAX_TOKENS {
                return Err("the answer is too long to be one");
            }
            self.one(c)?;
        }
        Ok(())
    }

    fn one(&mut self, c: char) -> Read<()> {
        let decimal = c == '.' && self.rest[1..].starts_with(|c: char| c.is_ascii_digit());
        if c.is_ascii_digit() || decimal {
            return self.number();
        }
        if c == '\\' {
            return self.command();
        }
        if c.is_alphabetic() && !matches!(c, 'π' | 'º') {
            return self.letters();
        }
        self.rest = &self.rest[c.len_utf8()..];
        self.sign(c)
    }

    fn sign(&mut self, c: char) -> Read<()> {
        match c {
            ' ' | '\t' | '\n' | '\r' | '$' | '€' | '£' | '¥' | '~' | '\u{a0}' | '\u{2}' => {}
            '.' if self.rest.trim().is_empty() => {}
            '"' | '“' | '”' | '`' => {}
            '+' => self.out.push(Token::Plus),
            '-' | '−' | '–' => self.out.push(Token::Minus),
            '±' => self.out.push(Token::PlusMinus),
            '∓' => self.out.push(Token::MinusPlus),
            '*' if self.rest.starts_with('*') => {
                self.rest = &self.rest[1..];
                self.out.push(Token::Caret);
            }
            '*' | '×' | '·' | '⋅' => self.out.push(Token::Times),
            '/' | '÷' => self.out.push(Token::Slash),
            '^' => self.out.push(Token::Caret),
            '_' => self.out.push(Token::Under),
            '!' => self.out.push(Token::Bang),
            '|' => self.out.push(Token::Bar),
            '%' => self.out.push(Token::Percent),
            '°' | 'º' => self.out.push(Token::Degree),
            ',' | ';' | '\u{1}' => self.out.push(Token::Comma),
            '=' => self.relation(Relation::Equal),
            '<' => self.compare(Relation::Less, Relation::LessEqual),
            '>' => self.compare(Relation::Greater, Relation::GreaterEqual),
            '≤' => self.relation(Relation::LessEqual),
            '≥' => self.relation(Relation::GreaterEqual),
            '∪' => self.out.push(Token::Cup),
            '∈' => self.out.push(Token::In),
            '√' => self.out.push(Token::Sqrt),
            'π' => self.out.push(Token::Pi),
            '∞' => self.out.push(Token::Infinity),
            '²' => self.power(2),
            '³' => self.power(3),
            '(' | '[' => self.open(c),
            ')' | ']' => self.close(c),
            '{' => self.out.push(Token::GroupOpen),
            '}' => self.out.push(Token::GroupClose),
            '&' => self.out.push(Token::Cell),
            _ => return Err("the answer holds a sign that is not known"),
        }
        Ok(())
    }

    fn relation(&mut self, relation: Relation) {
        self.out.push(Token::Relation(relation));
    }

    fn compare(&mut self, bare: Relation, equal: Relation) {
        let with = self.rest.starts_with('=');
        self.rest = &self.rest[usize::from(with)..];
        self.relation(if with { equal } else { bare });
    }

    fn power(&mut self, exponent: i128) {
        let value = Ratio::whole(exponent);
        self.out.push(Token::Caret);
        self.out.push(Token::Number(Decimal { value, places: 0, digits: exponent.to_string() }));
    }

    fn open(&mut self, c: char) {
        self.depth += 1;
        self.out.push(Token::Open(c));
    }

    fn close(&mut self, c: char) {
        self.depth = self.depth.saturating_sub(1);
        self.out.push(Token::Close(c));
    }

    fn number(&mut self) -> Read<()> {
        let mut digits = self.digits().to_owned();
        let groups = (1..=3).contains(&digits.len());
        while let Some(after) = self.separator().filter(|_| groups) {
            digits.push_str(&after[..3]);
            self.rest = &after[3..];
        }
        let mut places = 0;
        if let Some(after) = self.rest.strip_prefix('.').filter(|a| a.starts_with(|c: char| c.is_ascii_digit())) {
            self.rest = after;
            let fraction = self.digits();
            places = u32::try_from(fraction.len()).map_err(|_| "a number is too long")?;
            digits.push_str(fraction);
        } else if self.rest.strip_prefix('.').is_some_and(|a| !a.starts_with(|c: char| c.is_alphanumeric())) {
            self.rest = &self.rest[1..];
        }
        let exponent = self.exponent();
        let whole: i128 = digits.parse().map_err(|_| "a number is too long")?;
        let scale = Ratio::whole(10).pow(exponent - i128::from(places)).ok_or("a number is too long")?;
        let value = Ratio::whole(whole).mul(scale).ok_or("a number is too long")?;
        self.out.push(Token::Number(Decimal { value, places, digits }));
        Ok(())
    }

    fn digits(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    /// What follows a thousands separator: exactly three digits.
    fn separator(&self) -> Option<&'a str> {
        let after = match self.rest.chars().next()? {
            ',' if self.depth == 0 => &self.rest[1..],
            '\u{1}' | '\u{2}' => self.rest[1..].trim_start(),
            _ => return None,
        };
        let count = after.bytes().take_while(u8::is_ascii_digit).count();
        (count == 3).then_some(after)
    }

    /// The exponent of `1.5e10`, which is otherwise 0.
    fn exponent(&mut self) -> i128 {
        let Some(after) = self.rest.strip_prefix(['e', 'E']) else { return 0 };
        let (sign, after) = match after.strip_prefix('-') {
            Some(after) => (-1, after),
            None => (1, after.strip_prefix('+').unwrap_or(after)),
        };
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let Ok(size) = after[..end].parse::<u8>() else { return 0 };
        self.rest = &after[end..];
        sign * i128::from(size)
    }

    fn letters(&mut self) -> Read<()> {
        let end = self.rest.find(|c: char| !c.is_alphabetic()).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let Some(func) = Func::named(run) {
            self.out.push(Token::Func(func));
            return Ok(());
        }
        match run {
            "pi" => self.out.push(Token::Pi),
            "sqrt" => self.out.push(Token::Sqrt),
            "inf" | "infty" | "infinity" | "Infinity" => self.out.push(Token::Infinity),
            "U" if self.out.last().is_some_and(|t| matches!(t, Token::Close(_))) => self.out.push(Token::Cup),
            "percent" | "Percent" => self.out.push(Token::Percent),
            "and" | "or" => self.out.push(Token::Word(run.into())),
            _ if run.chars().count() > 3 || !run.is_ascii() || SHORT_UNITS.contains(&run) => {
                self.out.push(Token::Word(run.into()));
            }
            _ => self.out.extend(run.chars().map(|c| Token::Var(c.into()))),
        }
        Ok(())
    }

    fn command(&mut self) -> Read<()> {
        let body = &self.rest[1..];
        let end = body.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(body.len());
        let (name, rest) = body.split_at(end);
        if name.is_empty() {
            let c = body.chars().next().ok_or("the answer ends in a backslash")?;
            self.rest = &body[c.len_utf8()..];
            return self.escape(c);
        }
        self.rest = rest;
        if let Some(func) = Func::named(name) {
            self.out.push(Token::Func(func));
        } else if GREEK.contains(&name) {
            self.out.push(Token::Var(name.into()));
        } else if TEXTS.contains(&name) {
            return self.text(name);
        } else if name == "begin" || name == "end" {
            return self.environment(name == "begin");
        } else if !LOOKS.contains(&name) {
            return self.symbol(name);
        }
        Ok(())
    }

    fn escape(&mut self, c: char) -> Read<()> {
        match c {
            ' ' | ';' | ':' | '!' | ',' | '$' | '(' | ')' | '[' | ']' | '\n' => {}
            '{' => self.open('{'),
            '}' => self.close('}'),
            '|' => self.out.push(Token::Bar),
            '%' => self.out.push(Token::Percent),
            '\\' => {
                self.out.push(Token::RowEnd);
                self.row_spacing();
            }
            _ => return Err("the answer holds a command that is not known"),
        }
        Ok(())
    }

    /// `[6pt]` behind the end of a row.
    fn row_spacing(&mut self) {
        if let Some((length, rest)) = self.rest.strip_prefix('[').and_then(|inner| inner.split_once(']'))
            && ["pt", "em", "ex", "mm", "cm"].iter().any(|unit| length.ends_with(unit))
        {
            self.rest = rest;
        }
    }

    fn symbol(&mut self, name: &str) -> Read<()> {
        match name {
            "lbrace" => self.open('{'),
            "rbrace" => self.close('}'),
            "langle" => self.open('('),
            "rangle" => self.close(')'),
            "frac" | "dfrac" | "tfrac" | "cfrac" => self.out.push(Token::Frac),
            "binom" | "dbinom" | "tbinom" => self.out.push(Token::Binom),
            "sqrt" => self.out.push(Token::Sqrt),
            "pi" => self.out.push(Token::Pi),
            "infty" => self.out.push(Token::Infinity),
            "cdot" | "times" | "ast" => self.out.push(Token::Times),
            "div" => self.out.push(Token::Slash),
            "pm" => self.out.push(Token::PlusMinus),
            "mp" => self.out.push(Token::MinusPlus),
            "cup" => self.out.push(Token::Cup),
            "in" => self.out.push(Token::In),
            "le" | "leq" | "leqslant" => self.relation(Relation::LessEqual),
            "ge" | "geq" | "geqslant" => self.relation(Relation::GreaterEqual),
            "lt" => self.relation(Relation::Less),
            "gt" => self.relation(Relation::Greater),
            "vert" | "lvert" | "rvert" => self.out.push(Token::Bar),
            "emptyset" | "varnothing" => self.out.push(Token::Word("empty".into())),
            "degree" | "circ" => self.out.push(Token::Degree),
            _ => return Err("the answer holds a command that is not known"),
        }
        Ok(())
    }

    /// What stands between the braces that come next.
    fn braced(&mut self) -> Read<&'a str> {
        let inner = self.rest.trim_start().strip_prefix('{').ok_or("a command lacks its braces")?;
        let end = closing_brace(inner).ok_or("a brace is not closed")?;
        self.rest = &inner[end + 1..];
        Ok(&inner[..end])
    }

    /// `\text{...}`: words stay words; anything else, such as `(C)` or `5`, is read like the rest.
    fn text(&mut self, name: &str) -> Read<()> {
        let content = self.braced()?.trim();
        let worded = content.chars().all(|c| c.is_alphabetic() || " .'-/".contains(c)) && !content.is_empty();
        let single = content.chars().count() == 1;
        if matches!(content, "and" | "or" | "percent")
            || !worded
            || (single && !name.contains("text") && name != "mbox")
        {
            let outside = std::mem::replace(&mut self.rest, content);
            self.all()?;
            self.rest = outside;
        } else {
            self.out.push(Token::Word(content.into()));
        }
        Ok(())
    }

    fn environment(&mut self, begin: bool) -> Read<()> {
        let name = self.braced()?;
        if !MATRICES.contains(&name) {
            return Err("the answer holds an environment that is not known");
        }
        if begin && name == "array" {
            self.braced()?;
        }
        self.out.push(if begin { Token::MatrixOpen } else { Token::MatrixClose });
        Ok(())
    }
}

/// Where in `text` the brace closes that was opened just before it. Escaped braces do not count; looks through 2,000 bytes.
pub fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().take(MAX_BYTES) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}
