//! Decoder-only transformers over the tape: parameters by their Hugging Face names, and the forward pass. Backward is the
//! tape's affair; weights come and go through `checkpoint`.

pub mod adapter;
mod block;
pub mod config;
mod family;
mod held;
mod stream;
mod weights;

pub use adapter::{Adapter, Layout, LayoutError};
pub use config::{Config, Held, Parameter};
pub use weights::{Error, Weights};

use std::sync::Arc;

use config::{LongRope, Rope};
use weights::Stored;

use crate::graph::{
    ops::{self, Noise, Rotary, head_loss::Head},
    tape::Tape,
    tensor::{Role, Store, Tensor},
};

/// The tensors of one packed row of `T` tokens.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// `[1, T]`
    pub tokens: Tensor,
    /// `[1, T]` positions sorted by token.
    pub order: Tensor,
    /// `[1, T]` position within the document.
    pub positions: Tensor,
    /// `[T, 2]` first key that a token sees, and one past the last.
    pub spans: Tensor,
    /// `[1, T]` one past the last token of the token's document.
    pub ends: Tensor,
}

impl Inputs {
    /// Declares them for rows of `tokens` tokens.
    pub fn declare(store: &mut Store, tokens: usize) -> Self {
        let mut declare = |name, rows, cols| store.declare(name, Role::Inputs, rows, cols);
        Self {
            tokens: declare("tokens", 1, tokens),
            order: declare("order", 1, tokens),
            positions: declare("positions", 1, tokens),
            spans: declare("spans", tokens, 2),
            ends: declare("ends", 1, tokens),
        }
    }
}

/// A model's shape and its declared weights. With an adapter it is a view of weights that others may view too.
pub struct Model {
    /// Its shape.
    pub config: Config,
    /// Its parameters, without those of the adapter.
    pub weights: Arc<Weights>,
    /// What changes them.
    pub adapter: Option<Adapter>,
    /// Rotary tables of all layers.
    tables: Arc<Tables>,
    /// Those of the layers with a window, where they differ.
    local_tables: Option<Arc<Tables>>,
}

/// Rotary tables of two parts: for short texts and, behind it, for long ones.
#[derive(Clone, Copy, Debug)]
pub struct LongTexts {
    /// Texts of more tokens than this are long.
    beyond: usize,
    /// The row where their part begins.
    second: usize,
}

impl LongTexts {
    /// The row of the tables for the first token of a text of `length` tokens.
    pub fn first_row(self, length: usize) -> usize {
        if length > self.beyond { self.second } else { 0 }
    }
}

/// Declared rotary tables.
struct Tables {
    /// Positions that they reach.
    positions: usize,
    /// `[rows, R / 2]` each: cosines and sines.
    tensors: [Tensor; 2],
    long: Option<LongTexts>,
}

impl Tables {
    /// Tables of two parts where texts that are long by `long` fit.
    fn declare(store: &mut Store, dim: usize, positions: usize, long: Option<&LongRope>) -> Self {
        let long = long.filter(|long| positions > long.beyond);
        let long = long.map(|long| LongTexts { beyond: long.beyond, second: positions });
        let rows = positions + long.map_or(0, |long| long.second);
        let tensors = ["cosines", "sines"].map(|name| store.declare(name, Role::Inputs, rows, dim / 2));
        Self { positions, tensors, long }
    }

    fn values(&self, dim: usize, rope: &Rope, long: Option<&LongRope>) -> [(Tensor, Vec<f32>); 2] {
        let (mut cosines, mut sines) = rope.tables(dim, self.positions);
        if let Some(long) = long.filter(|_| self.long.is_some()) {
            let (of_long_cosines, of_long_sines) = long.rope.tables(dim, self.positions);
            cosines.extend(of_long_cosines);
            sines.extend(of_long_sines);
        }
        [(self.tensors[0], cosines), (self.tensors[1], sines)]
    }
}

impl Model {
    /// Declares weights, and gradients if `trained`, for positions `0..positions`. Tables larger than `max_binding` bytes are split by
    /// rows.
    ///
    /// # Errors
    /// If a parameter that cannot be split is larger than a binding.
    pub fn declare(
        store: &mut Store,
        config: Config,
        role: Role,
        trained: bool,
        positions: usize,
        max_binding: u64,
    ) -> Result<Self, Error> {
        let weights = Arc::new(Weights::declare(store, &config, |_| true, role, trained, max_binding)?);
        Ok(Self::of(store, config, weights, positions))
    }

    /// With rotary tables for positions `0..positions`.
    fn of(store: &mut Store, config: Config, weights: Arc<Weights>, positions: usize) -> Self {
        let mut declare = |long| Arc::new(Tables::declare(store, config.rotary_dim, positions, long));
        let tables = declare(config.long_rope.as_ref());
        let local_tables = config.local_rope.as_ref().map(|_| declare(None));
        Self { config, weights, adapter: None, tables, local_tables }
    }

    /// Declares what turns given hidden states into logits, and nothing else of a model that is frozen.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn declare_head(store: &mut Store, config: Config, role: Role, max_binding: u64) -> Result<Self, Error> {
        let is_head = |parameter: &Parameter| parameter.name == config.head();
        let weights = Arc::new(Weights::declare(store, &config, is_head, role, false, max_binding)?);
        Ok(Self::of(store, config, weights, 0))
    }

    /// The same weights under another adapter, or none.
    pub fn view(&self, adapter: Option<Adapter>) -> Self {
        let Self { config, weights, tables, local_tables, .. } = self;
        Self {
            config: config.clone(),
            weights: weights.clone(),
            adapter,
            tables: tables.clone(),
            local_tables: local_tables.clone(),
        }
    }

    /// What a run of it writes: the parameters of the adapter, or all where there is none.
    pub fn parameters(&self) -> impl Iterator<Item = &Stored> {
        self.adapter.as_ref().map_or(&*self.weights, |adapter| &adapter.weights).iter()
    }

    /// Every trained tensor with its gradient.
    pub fn trained(&self) -> Vec<(Tensor, Tensor)> {
        self.parameters().flat_map(Stored::trained).collect()
    }

    /// The rotary tables.
    pub fn rotary_tensors(&self) -> Vec<Tensor> {
        let tables = [Some(&self.tables), self.local_tables.as_ref()];
        tables.into_iter().flatten().flat_map(|tables| tables.tensors).collect()
    }

    /// The rotary tables and their values.
    pub fn rotary_tables(&self) -> Vec<(Tensor, Vec<f32>)> {
        let Config { rotary_dim, rope, local_rope, long_rope, .. } = &self.config;
        let mut tables = self.tables.values(*rotary_dim, rope, long_rope.as_ref()).to_vec();
        let local = self.local_tables.as_ref().zip(local_rope.as_ref());
        tables.extend(local.into_iter().flat_map(|(tables, rope)| tables.values(*rotary_dim, rope, None)));
        tables
    }

    /// Final hidden states `[T, C]`, after the last norm. `noise` is put on the embeddings; of the first `recompute`
    /// blocks only the input is kept for backward: at the end of forward, where most is held, and in the last blocks'
    /// backward nothing of theirs is there yet.
    pub fn hidden(&self, tape: &mut Tape, inputs: Inputs, noise: Option<Noise>, recompute: usize) -> Tensor {
        self.trained().into_iter().for_each(|(weight, gradient)| tape.train(weight, gradient));
        let rotary = self.text_rotary(tape, inputs);
        let attend = |tape: &mut Tape, layer: usize, q, k, v| {
            ops::attention(tape, [q, k, v], self.heads(), self.scores(layer), inputs.spans, inputs.ends)
        };
        self.forward(tape, inputs, noise, rotary, recompute, attend)
    }

    /// Final hidden states of new tokens, whose keys and values join `caches` (one pair `[capacity, K * D]` a layer) at
    /// `rows` `[1, T]`. A token sees the cache rows of its span; its position is a row of the rotary tables, counted from
    /// the first one of its text where [`Model::long_texts`] says.
    pub fn hidden_cached(&self, tape: &mut Tape, inputs: Inputs, rows: Tensor, caches: &[[Tensor; 2]]) -> Tensor {
        let attend = |tape: &mut Tape, layer: usize, q, k, v| {
            let [keys, values] = caches[layer];
            ops::append(tape, k, rows, keys);
            ops::append(tape, v, rows, values);
            ops::attention_forward(tape, [q, keys, values], self.heads(), self.scores(layer), inputs.spans)
        };
        let rotary = self.rotary(&self.tables, inputs.positions);
        self.forward(tape, inputs, None, rotary, 0, attend)
    }

    /// What turns these hidden states `[T, C]` into logits `[T, V]`.
    pub fn head(&self, hidden: Tensor) -> Head<'_> {
        Head { hidden, weight: self.head_weight(), softcap: self.config.final_softcap }
    }

    /// Shards of the matrix of the head.
    pub(crate) fn head_weight(&self) -> &[Tensor] {
        let own = self.adapter.as_ref().map_or(&[][..], |adapter| adapter.instead("lm_head.weight"));
        match own {
            // A tied head stays that of the base where an adapter trains the embedding alone, as in PEFT.
            [] => self.weights.shards(self.config.head()),
            own => own,
        }
    }

    /// The parts of the rotary tables, where the length of a text decides.
    pub fn long_texts(&self) -> Option<LongTexts> {
        self.tables.long
    }

    /// The tensors of a parameter: the adapter's, if it has its own.
    fn shards(&self, name: &str) -> &[Tensor] {
        match self.adapter.as_ref().map_or(&[][..], |adapter| adapter.instead(name)) {
            [] => self.weights.shards(name),
            own => own,
        }
    }

    fn heads(&self) -> ops::Heads {
        let Config { heads, kv_heads, head_dim, .. } = self.config;
        ops::Heads { heads, kv_heads, head_dim }
    }

    fn scores(&self, layer: usize) -> ops::Scores {
        let Config { attention_scale: scale, attention_softcap: softcap, .. } = self.config;
        ops::Scores { scale, softcap, window: self.config.windows[layer] }
    }

    fn rotary(&self, tables: &Tables, positions: Tensor) -> Rotary {
        let [cosines, sines] = tables.tensors;
        Rotary { positions, cosines, sines, head_dim: self.config.head_dim }
    }

    /// That of whole texts, each of which takes the part of the tables for its length.
    fn text_rotary(&self, tape: &mut Tape, inputs: Inputs) -> Rotary {
        let mut rotary = self.rotary(&self.tables, inputs.positions);
        if let Some(LongTexts { beyond, second }) = self.tables.long {
            let documents = [inputs.spans, inputs.ends];
            rotary.positions = ops::text_positions(tape, inputs.positions, documents, beyond, second);
        }
        rotary
    }

    /// `rotary` serves all layers, but for those with a window where they have tables of their own.
    fn forward(
        &self,
        tape: &mut Tape,
        inputs: Inputs,
        noise: Option<Noise>,
        rotary: Rotary,
        recompute: usize,
        mut attend: impl FnMut(&mut Tape, usize, Tensor, Tensor, Tensor) -> Tensor,
    ) -> Tensor {
        let local = self.local_tables.as_ref().map_or(rotary, |tables| self.rotary(tables, inputs.positions));
        let mut x = self.embeddings(tape, inputs);
        if let Some(noise) = noise {
            x = ops::noise(tape, x, noise);
        }
        for layer in 0..self.config.layers {
            let rotary = if self.config.windows[layer].is_some() { local } else { rotary };
            let mut block =
                |tape: &mut Tape| self.block(tape, layer, x, rotary, |tape, q, k, v| attend(tape, layer, q, k, v));
            x = if layer < recompute { tape.recompute(block) } else { block(tape) };
        }
        self.last_norm(tape, x)
    }
}
