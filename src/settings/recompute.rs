//! How many blocks are computed twice: `auto`, `on`, `off`, or a number.

use std::fmt;
use std::str::FromStr;

/// Gradient checkpointing: compute activations a second time instead of keeping them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompute {
    /// Those of as many blocks as the memory asks for.
    Auto,
    /// Those of all blocks.
    On,
    /// None.
    Off,
    /// Those of so many blocks, the first ones.
    Blocks(usize),
}

impl FromStr for Recompute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            number => number.parse().map(Self::Blocks).map_err(|_| {
                format!("`{text}` does not say what is computed twice; give auto, on, off, or a number of blocks")
            }),
        }
    }
}

impl fmt::Display for Recompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::On => f.write_str("on"),
            Self::Off => f.write_str("off"),
            Self::Blocks(number) => number.fmt(f),
        }
    }
}
