//! What an adapter is made of.

/// Settings of an adapter, in PEFT's and in mlx-lm's folders.
pub(in super::super) const CONFIG: &str = "adapter_config.json";
/// What PEFT's tensor names begin with.
pub const PREFIX: &str = "base_model.model.";

/// Settings of an adapter, with PEFT's names where they differ.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AdapterConfig {
    /// `r`
    pub rank: usize,
    /// `lora_alpha`
    pub alpha: f64,
    /// `lora_dropout`
    pub dropout: f64,
    /// `use_rslora`: scaled by `alpha / sqrt(rank)` instead of `alpha / rank`.
    pub rslora: bool,
    /// `use_dora`
    pub dora: bool,
    /// `target_modules`: the ends of their names; empty: every linear module of the blocks.
    pub targets: Vec<String>,
    /// `layers_to_transform`; `None`: all.
    pub layers: Option<Vec<usize>>,
    /// `rank_pattern`: ranks of modules whose names end so.
    pub ranks: Vec<(String, usize)>,
    /// `alpha_pattern`, likewise.
    pub alphas: Vec<(String, f64)>,
    /// `modules_to_save`: modules that are trained whole, by the ends of their names.
    pub saved: Vec<String>,
}

/// The tensors of an adapted module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `[rank, in]`
    A,
    /// `[out, rank]`
    B,
    /// `[out]`, of DoRA.
    Magnitude,
}

impl AdapterConfig {
    /// Rank and scale of a module.
    pub fn rank_and_scale(&self, module: &str) -> (usize, f64) {
        let rank = find(&self.ranks, module).unwrap_or(self.rank);
        let alpha = find(&self.alphas, module).unwrap_or(self.alpha);
        let over = if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
        (rank, alpha / over)
    }
}

/// Whether a module's name is `end` or has it behind a dot, as PEFT matches.
pub fn ends_with(module: &str, end: &str) -> bool {
    module.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn find<T: Copy>(patterns: &[(String, T)], module: &str) -> Option<T> {
    let fits = |pattern: &str| match pattern.strip_prefix('^') {
        Some(whole) => whole == module,
        None => ends_with(module, pattern),
    };
    patterns.iter().find(|(pattern, _)| fits(pattern)).map(|(_, value)| *value)
}

/// The name of a module's part in PEFT's files.
pub fn tensor_name(module: &str, part: Part) -> String {
    let end = match part {
        Part::A => "lora_A.weight",
        Part::B => "lora_B.weight",
        Part::Magnitude => "lora_magnitude_vector",
    };
    format!("{PREFIX}{module}.{end}")
}
