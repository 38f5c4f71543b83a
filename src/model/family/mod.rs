//! What sets one model family apart from another, as data: names, class defaults, and switches of the block.
//!
//! One small file a family. To add one, write its [`Family`] constant and list it in `FAMILIES`; what a family
//! needs beyond these switches becomes a field of `Config` that the block code follows. Nothing here may look at
//! weights, and no other file may match on a family's name.

mod gemma2;
mod gemma3;
mod llama;
mod mistral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;

use super::config::{Norms, QkNorm};
use crate::graph::ops::Activation;

/// Every family that can be trained, in the order in which messages list them.
pub(crate) const FAMILIES: &[&Family] = &[
    &qwen3::FAMILY,
    &qwen2::FAMILY,
    &llama::FAMILY,
    &mistral::FAMILY,
    &gemma3::FAMILY,
    &gemma2::FAMILY,
    &phi3::FAMILY,
    &olmo2::FAMILY,
];

/// One model family of transformers: how its `config.json` is read.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// The name in `model_type`.
    pub model_type: &'static str,
    /// The class in `architectures` that carries a language-model head, e.g. `Qwen3ForCausalLM`.
    pub architecture: &'static str,
    /// What the transformers class assumes for a field that the file lacks.
    pub(crate) defaults: Defaults,
    /// Bias on the query, key and value projections.
    pub(crate) qkv_bias: Switch,
    /// Bias on the attention's output projection.
    pub(crate) out_bias: Switch,
    /// Bias on the three projections of the MLP.
    pub(crate) mlp_bias: Switch,
    /// RMS norm on queries and keys, before the rotation.
    pub(crate) qk_norm: QkNorm,
    /// Where a block has its norms.
    pub(crate) norms: Norms,
    /// Added to the weight of every norm.
    pub(crate) norm_offset: f32,
    /// One matrix for query, key and value, and one for gate and up.
    pub(crate) fused: bool,
    /// The field that names the activation, and what it is where the field is missing.
    pub(crate) activation: (&'static str, Activation),
    /// Embeddings are multiplied by the root of their width.
    pub(crate) scaled_embeddings: bool,
    /// Scores are scaled by the root of `query_pre_attn_scalar` instead of the head size, and logits can be capped.
    pub(crate) query_scalar: bool,
    /// `attn_logit_softcapping` is honoured, with this class default; `None`: the class ignores it.
    pub(crate) attention_softcap: Option<f64>,
    /// Class default of `final_logit_softcapping`.
    pub(crate) final_softcap: Option<f64>,
    /// Which layers see a window only.
    pub(crate) windows: Windows,
    /// Bases of the rotary wavelengths: of all layers, and of those with a window where theirs differs.
    pub(crate) rope_thetas: (f64, Option<f64>),
    /// `partial_rotary_factor` is honoured.
    pub(crate) partial_rotary: bool,
}

/// What most families are; theirs differ in what their file names.
const PLAIN: Family = Family {
    model_type: "",
    architecture: "",
    defaults: Defaults {
        vocab: 32_000,
        hidden: 4096,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_dim: None,
        ffn: 11_008,
        max_positions: 2048,
        original_positions: None,
        eps: 1e-6,
        tied: false,
        window: None,
        bos: None,
        eos: None,
        pad: None,
    },
    qkv_bias: Switch::Never,
    out_bias: Switch::Never,
    mlp_bias: Switch::Never,
    qk_norm: QkNorm::None,
    norms: Norms::Before,
    norm_offset: 0.0,
    fused: false,
    activation: ("hidden_act", Activation::Silu),
    scaled_embeddings: false,
    query_scalar: false,
    attention_softcap: None,
    final_softcap: None,
    windows: Windows::Never,
    rope_thetas: (10_000.0, None),
    partial_rotary: false,
};

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
    /// `original_max_position_embeddings`; `None`: the class has no such field.
    pub(crate) original_positions: Option<usize>,
    pub(crate) eps: f64,
    pub(crate) tied: bool,
    /// `sliding_window`; `None`: none.
    pub(crate) window: Option<usize>,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) pad: Option<u32>,
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

/// Which layers see only a window, by the class.
#[derive(Debug, PartialEq)]
pub(crate) enum Windows {
    /// None.
    Never,
    /// All, where `sliding_window` is given.
    Every,
    /// With `use_sliding_window`, those in `layer_types` or from `max_window_layers` on.
    Later,
    /// Those in `layer_types`, or all but each n-th by `sliding_window_pattern`, whose default this is.
    AllBut(usize),
}
