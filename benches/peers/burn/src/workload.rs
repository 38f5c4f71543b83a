//! What both sides compute: a shape, its weights by a formula of name and index, and one row of tokens.

use clap::Args;

/// A Qwen3-shaped model and the row that it is trained on.
#[derive(Args, Clone, Debug)]
pub struct Workload {
    /// Width of the residual stream
    #[arg(long, default_value_t = 256)]
    pub hidden: usize,
    /// Decoder layers
    #[arg(long, default_value_t = 4)]
    pub layers: usize,
    /// Query heads
    #[arg(long, default_value_t = 8)]
    pub heads: usize,
    /// Key and value heads
    #[arg(long, default_value_t = 4)]
    pub kv_heads: usize,
    /// Width of a head
    #[arg(long, default_value_t = 32)]
    pub head_dim: usize,
    /// Width of the gated MLP
    #[arg(long, default_value_t = 768)]
    pub ffn: usize,
    /// Tokens of the vocabulary; the head is tied to the embedding
    #[arg(long, default_value_t = 6400)]
    pub vocab: usize,
    /// Tokens of the row, one document
    #[arg(long, default_value_t = 512)]
    pub tokens: usize,
}

/// Base of the rotary frequencies.
pub const THETA: f64 = 1e6;
/// Added to the mean square in every norm.
pub const EPS: f64 = 1e-6;
/// Learning rate; decay and clipping are off.
pub const LR: f64 = 1e-4;
/// Decay rates of Adam's moments.
pub const BETAS: [f32; 2] = [0.9, 0.999];
/// Added to Adam's denominator.
pub const ADAM_EPS: f32 = 1e-8;

/// Largest weight of a matrix: wide enough that a slip in any op shows in the loss.
const SPREAD: f32 = 0.1;

impl Workload {
    /// One line for people.
    pub fn describe(&self) -> String {
        let Self { hidden, layers, heads, kv_heads, head_dim, ffn, vocab, tokens } = self;
        format!(
            "Qwen3-shaped, f32: hidden {hidden}, {layers} layers, {heads}:{kv_heads} heads of {head_dim}, ffn {ffn}, \
             vocab {vocab}, tied; one row of {tokens} tokens, AdamW"
        )
    }

    /// Ids of the row: anything but 0, which burn's loss takes as padding.
    pub fn ids(&self) -> Vec<u32> {
        let mut state = 1;
        (0..self.tokens).map(|_| 1 + (next(&mut state) % (self.vocab as u64 - 1)) as u32).collect()
    }
}

/// `count` values of the parameter that Hugging Face calls `name`, row-major as there (`[out, in]`).
pub fn values(name: &str, count: usize) -> Vec<f32> {
    // FNV-1a: a stream for every name.
    let mut state = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let centre = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
    let unit = |word: u64| (word >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
    (0..count).map(|_| centre + SPREAD * unit(next(&mut state))).collect()
}

/// SplitMix64 (Steele, Lea & Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
