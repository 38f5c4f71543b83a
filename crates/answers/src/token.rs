//! An answer as it is written (LaTeX, plain text, a few Unicode signs) into tokens.
//!
//! What only changes the look (`\left`, `\!`, `$`, currency signs) is dropped here. A command that is not known makes
//! the answer unreadable: it is never skipped, since what it means is not known either.

use crate::number::Decimal;
use crate::op::Op;

/// Why an answer cannot be read.
pub(crate) type Read<T> = Result<T, &'static str>;

/// Longer answers are not read.
const MAX_BYTES: usize = 2_000;
/// Answers of more tokens are not read.
const MAX_TOKENS: usize = 800;

const TOO_LONG: &str = "the answer is too long to be one";
const UNKNOWN_COMMAND: &str = "the answer holds a command that is not known";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bracket {
    Round,
    Square,
    /// `\{`, of a set.
    Curly,
    /// A bare brace of LaTeX.
    Group,
    Matrix,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Number(Decimal),
    Var(String),
    Word(String),
    Function(Op),
    /// `\frac` or `\binom`: two arguments follow.
    Command(Op),
    /// A sign as [`SIGNS`] names it; `&` and `;` end a cell and a row of a matrix.
    Sign(char),
    Open(Bracket),
    Close(Bracket),
}

/// Signs, each with other signs and then the commands that say the same.
const SIGNS: &[(char, &str, &str)] = &[
    ('+', "", ""),
    ('-', "−–", ""),
    ('±', "", "pm"),
    ('∓', "", "mp"),
    ('×', "*·⋅", "cdot times ast"),
    ('/', "÷", "div"),
    ('^', "", ""),
    ('_', "", ""),
    ('!', "", ""),
    ('|', "", "vert lvert rvert"),
    ('%', "", ""),
    ('°', "º", "degree circ"),
    (',', ";\u{1}", ""),
    ('=', "", ""),
    ('<', "", "lt"),
    ('>', "", "gt"),
    ('≤', "", "le leq leqslant"),
    ('≥', "", "ge geq geqslant"),
    ('∪', "", "cup"),
    ('∈', "", "in"),
    ('√', "", "sqrt"),
    ('π', "", "pi"),
    ('∞', "", "infty"),
    ('&', "", ""),
];

/// Signs that mean nothing, among them the mark of a dropped `\,`.
const BLANKS: &str = " \t\n\r$€£¥~\u{a0}\u{2}\"“”`";
/// Units of three letters or fewer that are written without `\text`.
const SHORT_UNITS: &str =
    "cm mm km kg mg ml mL ft mph kmh sec hr hrs min lb lbs oz yd mi sq st nd rd th am pm Rs USD per cts";
const GREEK: &str = "alpha beta gamma delta epsilon varepsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi \
                     varphi chi psi omega Gamma Delta Theta Lambda Sigma Phi Psi Omega ell";
const LOOKS: &str = "left right big Big bigg Bigg bigl bigr Bigl Bigr displaystyle textstyle quad qquad limits hspace \
                     hfill bf rm it";
const TEXTS: &str =
    "text mbox hbox textrm textbf textit texttt mathrm mathbf mathit mathsf mathbb operatorname boldsymbol";
const MATRICES: &str = "matrix pmatrix bmatrix Bmatrix vmatrix smallmatrix array";

fn lists(list: &str, name: &str) -> bool {
    list.split(' ').any(|word| word == name)
}

/// The tokens of `text`.
pub(crate) fn tokens(text: &str) -> Read<Vec<Token>> {
    if text.len() > MAX_BYTES {
        return Err(TOO_LONG);
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

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

impl<'a> Scan<'a> {
    fn all(&mut self) -> Read<()> {
        while let Some(c) = self.rest.chars().next() {
            if self.out.len() >= MAX_TOKENS {
                return Err(TOO_LONG);
            }
            if is_digit(c) || (c == '.' && self.rest[1..].starts_with(is_digit)) {
                self.number()?;
            } else if c == '\\' {
                self.command()?;
            } else if c.is_alphabetic() && !matches!(c, 'π' | 'º') {
                self.letters();
            } else {
                self.rest = &self.rest[c.len_utf8()..];
                self.sign(c)?;
            }
        }
        Ok(())
    }

    /// What comes up to the first character that does not belong.
    fn while_matches(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }

    fn push(&mut self, sign: char) {
        self.out.push(Token::Sign(sign));
    }

    fn sign(&mut self, c: char) -> Read<()> {
        let followed = |sign| self.rest.starts_with(sign);
        let (sign, length) = match c {
            '*' if followed('*') => ('^', 1),
            '<' if followed('=') => ('≤', 1),
            '>' if followed('=') => ('≥', 1),
            _ => (c, 0),
        };
        self.rest = &self.rest[length..];
        match sign {
            '(' => self.open(Bracket::Round),
            '[' => self.open(Bracket::Square),
            ')' => self.close(Bracket::Round),
            ']' => self.close(Bracket::Square),
            '{' => self.out.push(Token::Open(Bracket::Group)),
            '}' => self.out.push(Token::Close(Bracket::Group)),
            '²' | '³' => {
                self.push('^');
                let digits = if sign == '²' { "2" } else { "3" };
                self.out.extend(Decimal::new(digits, 0, 0).map(Token::Number));
            }
            '.' if self.rest.trim().is_empty() => {}
            _ if BLANKS.contains(sign) => {}
            _ => {
                let known = SIGNS.iter().find(|(own, others, _)| *own == sign || others.contains(sign));
                self.push(known.ok_or("the answer holds a sign that is not known")?.0);
            }
        }
        Ok(())
    }

    fn open(&mut self, bracket: Bracket) {
        self.depth += 1;
        self.out.push(Token::Open(bracket));
    }

    fn close(&mut self, bracket: Bracket) {
        self.depth = self.depth.saturating_sub(1);
        self.out.push(Token::Close(bracket));
    }

    fn number(&mut self) -> Read<()> {
        let mut digits = self.while_matches(is_digit).to_owned();
        let groups = (1..=3).contains(&digits.len());
        while let Some(after) = self.separator().filter(|_| groups) {
            digits.push_str(&after[..3]);
            self.rest = &after[3..];
        }
        let mut places = 0;
        if let Some(after) = self.rest.strip_prefix('.') {
            if after.starts_with(is_digit) {
                self.rest = after;
                let fraction = self.while_matches(is_digit);
                places = fraction.len();
                digits.push_str(fraction);
            } else if !after.starts_with(char::is_alphanumeric) {
                self.rest = after;
            }
        }
        // At most 2,000 bytes are read, so that both fit.
        let scale = self.exponent() - places as i32;
        self.out.push(Token::Number(Decimal::new(&digits, places as u32, scale).ok_or("a number is too long")?));
        Ok(())
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
    fn exponent(&mut self) -> i32 {
        let Some(after) = self.rest.strip_prefix(['e', 'E']) else { return 0 };
        let (sign, after) = match after.strip_prefix('-') {
            Some(after) => (-1, after),
            None => (1, after.strip_prefix('+').unwrap_or(after)),
        };
        let end = after.find(|c| !is_digit(c)).unwrap_or(after.len());
        let Ok(size) = after[..end].parse::<u8>() else { return 0 };
        self.rest = &after[end..];
        sign * i32::from(size)
    }

    fn letters(&mut self) {
        let run = self.while_matches(char::is_alphabetic);
        let behind_bracket =
            matches!(self.out.last(), Some(Token::Close(Bracket::Round | Bracket::Square | Bracket::Curly)));
        match run {
            _ if Op::named(run).is_some() => self.out.extend(Op::named(run).map(Token::Function)),
            "pi" => self.push('π'),
            "sqrt" => self.push('√'),
            "inf" | "infty" | "infinity" | "Infinity" => self.push('∞'),
            "U" if behind_bracket => self.push('∪'),
            "percent" | "Percent" => self.push('%'),
            "and" | "or" => self.out.push(Token::Word(run.into())),
            _ if run.chars().count() > 3 || !run.is_ascii() || lists(SHORT_UNITS, run) => {
                self.out.push(Token::Word(run.into()));
            }
            _ => self.out.extend(run.chars().map(|c| Token::Var(c.into()))),
        }
    }

    fn command(&mut self) -> Read<()> {
        self.rest = &self.rest[1..];
        let name = self.while_matches(|c| c.is_ascii_alphabetic());
        match name {
            "" => return self.escape(),
            "begin" | "end" => return self.environment(name == "begin"),
            "lbrace" => self.open(Bracket::Curly),
            "rbrace" => self.close(Bracket::Curly),
            "langle" => self.open(Bracket::Round),
            "rangle" => self.close(Bracket::Round),
            "frac" | "dfrac" | "tfrac" | "cfrac" => self.out.push(Token::Command(Op::Div)),
            "binom" | "dbinom" | "tbinom" => self.out.push(Token::Command(Op::Binom)),
            "emptyset" | "varnothing" => self.out.push(Token::Word("empty".into())),
            _ if lists(GREEK, name) => self.out.push(Token::Var(name.into())),
            _ if lists(TEXTS, name) => return self.text(name),
            _ if lists(LOOKS, name) => {}
            _ => match Op::named(name) {
                Some(op) => self.out.push(Token::Function(op)),
                None => {
                    let known = SIGNS.iter().find(|(_, _, commands)| lists(commands, name));
                    self.push(known.ok_or(UNKNOWN_COMMAND)?.0);
                }
            },
        }
        Ok(())
    }

    /// A backslash before something else than a letter.
    fn escape(&mut self) -> Read<()> {
        let c = self.rest.chars().next().ok_or("the answer ends in a backslash")?;
        self.rest = &self.rest[c.len_utf8()..];
        match c {
            ' ' | ';' | ':' | '!' | ',' | '$' | '(' | ')' | '[' | ']' | '\n' => {}
            '{' => self.open(Bracket::Curly),
            '}' => self.close(Bracket::Curly),
            '|' | '%' => self.push(c),
            '\\' => {
                self.push(';');
                // `[6pt]` behind the end of a row.
                if let Some((length, rest)) = self.rest.strip_prefix('[').and_then(|inner| inner.split_once(']'))
                    && ["pt", "em", "ex", "mm", "cm"].iter().any(|unit| length.ends_with(unit))
                {
                    self.rest = rest;
                }
            }
            _ => return Err(UNKNOWN_COMMAND),
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
        let variable = content.chars().count() == 1 && !name.contains("text") && name != "mbox";
        if !worded || variable || matches!(content, "and" | "or" | "percent") {
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
        if !lists(MATRICES, name) {
            return Err("the answer holds an environment that is not known");
        }
        if begin && name == "array" {
            self.braced()?;
        }
        self.out.push(if begin { Token::Open(Bracket::Matrix) } else { Token::Close(Bracket::Matrix) });
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
