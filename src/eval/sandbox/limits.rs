//! What a program that is run may use.

/// What one program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wall time, in seconds, the interpreter's start included.
    pub seconds: u32,
    /// Address space of each process, in bytes.
    pub memory_bytes: u64,
    /// Bytes kept of what it prints: the last ones.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { seconds: 10, memory_bytes: 1 << 30, output_bytes: 16 << 10 }
    }
}
