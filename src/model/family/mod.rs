//! What sets one model family apart from another, as data: names, class defaults, which layers carry a bias.
//!
//! One small file a family. To add one, write its [`Family`] constant and list it in `FAMILIES`; what a family
//! needs beyond these switches becomes a field of `Config` that the block code follows. Nothing here may look at
//! weights, and no other file may match on a family's name.

mod llama;
mod qwen2;
mod qwen3;

/// Every family that can be trained, in the order in which messages list them.
pub(crate) const FAMILIES: &[&Family] = &[&qwen3::FAMILY, &qwen2::FAMILY, &llama::FAMILY];

/// One model family of transformers: how its `config.json` is read.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// The name in `model_type`.
    pub model_type: &'static str,
    /// The class in `architectures` that carries a language-model head, e.g. `Qwen3ForCausalLM`.
    pub architecture: &'static str,
    /// What the transformers class assumes for a field that the file lacks.
    pub(crate) defaults: Defaults,
    /// RMS norm on each head's query and key, before the rotation.
    pub(crate) qk_norm: bool,
    /// Bias on the query, key and value projections.
    pub(crate) qkv_bias: Switch,
    /// Bias on the attention's output projection.
    pub(crate) out_bias: Switch,
    /// Bias on the three projections of the MLP.
    pub(crate) mlp_bias: Switch,
}

/// Class defaults of transformers 5.23 that differ between families.
#[derive(Debug, PartialEq)]
pub(crate) struct Defaults {
    pub(crate) vocab: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    /// `None`: as many as `heads`.
    pub(crate) kv_heads: Option<usize>,
    /// `None`: `hidden / heads`.
    pub(crate) head_dim: Option<usize>,
    pub(crate) ffn: usize,
    pub(crate) max_positions: usize,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
}

/// Whether a layer has a bias, and who says so.
#[derive(Debug, PartialEq)]
pub(crate) enum Switch {
    /// The class has it, whatever the file says.
    Always,
    /// The class lacks it, whatever the file says.
    Never,
    /// This boolean field of the file decides; missing means no.
    Field(&'static str),
}
