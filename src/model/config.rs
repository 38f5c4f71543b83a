//! A model's shape: a list of layers and what stands around them.
//!
//! It is read from a Hugging Face `config.json`, in the form of transformers 4 (`rope_theta`, `rope_scaling`) or of
//! transformers 5 (`rope_parameters`, `layer_types`). What would change the computation and is not supported is refused
//! there, by name, before any long work. Nothing here touches weights or a GPU.

mod attention;
mod fields;
mod positions;
mod quantised;
mod read;
mod refused;
pub(crate) mod windows;

use std::collections::BTreeMap;

pub use super::{
    ffn::Gated,
    mixers::{
        Mixer,
        attention::{Attention, QkNorm},
        short_conv::ShortConv,
    },
    parameter::{Init, Parameter},
    rope::{LongRope, Rope, RopeScaling, Rotation},
};
use super::{
    parameter::{EMBEDDING, HEAD, List, Names, module_name},
    part::Part,
};
use crate::{
    formats::Entry,
    graph::{ops::Norm, tensor::Format},
};
pub use fields::Error;
pub(crate) use fields::Fields;

/// One model family of transformers: how its `config.json` is read, and how its checkpoints name modules.
pub struct Family {
    /// The name in `model_type`.
    pub model_type: &'static str,
    /// The class in `architectures` that carries a language-model head, e.g. `Qwen3ForCausalLM`.
    pub architecture: &'static str,
    /// What the class of transformers 5.23 assumes for fields that a file lacks, where that is not what Llama's does.
    pub(crate) class: fn() -> serde_json::Value,
    /// Names of modules that are not ours.
    pub(crate) names: Names,
    /// Completes a model that has all but its layers.
    pub(crate) read: fn(&Fields<'_>, &mut Config) -> Result<(), Error>,
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.model_type)
    }
}

/// A decoder-only model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which family's names apply.
    pub family: &'static Family,
    /// `V`: rows of the embedding and of the head.
    pub vocab: usize,
    /// `C`: width of the stream.
    pub hidden: usize,
    /// From the embeddings to the head.
    pub layers: Vec<LayerSpec>,
    /// The constants of every RMS norm.
    pub norm: Norm,
    /// Logits become `cap * tanh(logit / cap)`.
    pub final_softcap: Option<f32>,
    /// Multiplies the embeddings of tokens (not the head, tied or not).
    pub embedding_scale: f32,
    /// The head is the embedding.
    pub tied: bool,
    /// Standard deviation of freshly initialised weights.
    pub init_std: f32,
    /// The longest context that the model was made for.
    pub max_positions: usize,
    /// Token that starts a text.
    pub bos: Option<u32>,
    /// Tokens that end a text; may be empty, the first is the one to append.
    pub eos: Vec<u32>,
    /// Token that fills up a sequence.
    pub pad: Option<u32>,
    /// How its matrices are held on a device; as f32 or bfloat16 where they learn.
    pub held: Held,
    /// Those of them, by name, that are held otherwise, because a quantised checkpoint has them so.
    pub formats: BTreeMap<String, Format>,
    /// The checkpoint is quantised: its numbers cannot learn.
    pub quantised: bool,
}

/// A layer: a mixer and a feed-forward, each added to the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// What mixes tokens.
    pub mixer: Mixer,
    /// What follows.
    pub ffn: Gated,
    /// The modules of the norms before and behind the mixer, before and behind the feed-forward.
    pub norms: Norms,
}

/// See [`LayerSpec::norms`].
pub type Norms = [Option<&'static str>; 4];

/// Norms before mixer and feed-forward, as Llama has them.
pub(crate) const BEFORE: Norms = [Some("input_layernorm"), None, Some("post_attention_layernorm"), None];

/// How the matrices of a model are held. Those whose sizes do not allow it are held as f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Projections.
    pub linear: Format,
    /// Embedding and head.
    pub table: Format,
}

impl Held {
    /// As a checkpoint of bfloat16 has them: nothing is lost.
    pub const BF16: Self = Self { linear: Format::Bf16, table: Format::Bf16 };
    /// As a checkpoint of halves has them, likewise.
    pub const F16: Self = Self { linear: Format::F16, table: Format::F16 };
}

impl LayerSpec {
    fn declare(&self, list: &mut List) {
        self.mixer.declare(list);
        self.ffn.declare(list);
        self.norms.into_iter().flatten().for_each(|module| list.norm(module, list.hidden));
    }
}

impl Config {
    /// Every parameter of the model, in the order of transformers' `named_parameters`.
    ///
    /// A tied head is the embedding and is not listed.
    pub fn parameters(&self) -> Vec<Parameter> {
        let table = [self.vocab, self.hidden];
        // A norm starts as the identity.
        let norm = if self.norm.offset == 0.0 { Init::Ones } else { Init::Zeros };
        let mut list = List::new(self.hidden, self.init_std, norm, self.family.names);
        list.matrix("embed_tokens", table, false);
        for (i, layer) in self.layers.iter().enumerate() {
            list.layer(i, |list| layer.declare(list));
        }
        list.norm("norm", self.hidden);
        list.finish((!self.tied).then_some(table))
    }

    /// The name of the matrix that turns hidden states into logits.
    pub fn head(&self) -> &'static str {
        if self.tied { EMBEDDING } else { HEAD }
    }

    /// [`Config::parameters`] by name and shape, in the same order.
    pub fn entries(&self) -> Vec<Entry> {
        self.parameters().iter().map(Entry::from).collect()
    }

    /// Number of trained values in the model.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(Parameter::count).sum()
    }

    /// A module by its name in checkpoints, in a layer or outside of all.
    pub(crate) fn module(&self, layer: Option<usize>, module: &str) -> String {
        module_name(self.family.names, layer, module)
    }

    /// How queries and keys turn in some layer, each once.
    pub(crate) fn rotations(&self) -> Vec<&Rotation> {
        let mut found = Vec::new();
        for layer in &self.layers {
            found.extend(layer.mixer.rotation().filter(|rotation| !found.contains(rotation)));
        }
        found
    }

    /// Has its matrices held as f32 where they do not learn, too.
    pub fn widen(&mut self) {
        self.held = Held::default();
        self.formats.clear();
    }

    /// Whether two models have the same parameters: names and shapes.
    pub fn same_shape(&self, other: &Self) -> bool {
        self.family == other.family && self.entries() == other.entries()
    }
}
