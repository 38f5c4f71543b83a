//! Sizes of memory as people write them: `8GiB`, `512 MB`, `1073741824`.

use std::fmt;
use std::str::FromStr;

/// Largest first, so that a size is shown in the largest unit that holds it exactly.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// A number of bytes. Reads `8GiB`, `8GB`, `1.5 GiB`, `8G` (as GiB) or plain bytes; exact when shown and read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size of memory; write it like 8GiB, 512MiB or 8000000000");
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim());
        let is_unit = |name: &str| {
            name.eq_ignore_ascii_case(unit)
                || name.strip_suffix("iB").is_some_and(|short| short.eq_ignore_ascii_case(unit))
        };
        let bytes = match unit {
            "" => 1,
            _ => UNITS.iter().find(|(name, _)| is_unit(name)).map(|(_, bytes)| *bytes).ok_or_else(wrong)?,
        };
        if let Ok(number) = number.parse::<u64>() {
            return number.checked_mul(bytes).map(Self).ok_or_else(wrong);
        }
        let size = number.parse::<f64>().map_err(|_| wrong())? * bytes as f64;
        // Beyond 2^53 bytes an f64 would no longer be the number that was written.
        if size < 9.0e15 { Ok(Self(size as u64)) } else { Err(wrong()) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |bytes: u64| self.0 >= bytes && self.0.is_multiple_of(bytes);
        let (name, bytes) = UNITS.into_iter().find(|(_, bytes)| fits(*bytes)).unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / bytes)
    }
}
