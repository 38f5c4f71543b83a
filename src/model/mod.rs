//! Decoder-only models over the tape: layers of a mixer and a feed-forward, parameters by their Hugging Face names, and the
//! forward pass. Backward is the tape's affair; weights come and go through `formats`.

pub mod adapter;
pub mod config;
mod families;
mod ffn;
mod held;
mod layer;
mod mixers;
mod parameter;
mod part;
mod rope;
mod stream;
mod tables;
mod weights;

pub use adapter::{Adapter, Layout, LayoutError};
pub use config::{Config, Held, Parameter};
pub(crate) use part::Part;
pub use part::{Inputs, Room};
pub use tables::LongTexts;
pub use weights::{Error, Weights};

use std::sync::Arc;

use layer::Tokens;
use parameter::{EMBEDDING, HEAD};
use part::Cached;
use tables::Tables;
use weights::Stored;

use crate::graph::{
    ops::{self, Noise, head_loss::Head},
    tape::Tape,
    tensor::{Role, Store, Tensor},
};

/// A model's shape and its declared weights. With an adapter it is a view of weights that others may view too.
pub struct Model {
    /// Its shape.
    pub config: Config,
    /// Its parameters, without those of the adapter.
    pub weights: Arc<Weights>,
    /// What changes them.
    pub adapter: Option<Adapter>,
    /// Rotary tables of the layers that turn.
    tables: Arc<[Tables]>,
}

/// Declared room for what the layers of a model keep of the tokens before.
pub struct Caches {
    layers: Vec<Vec<Tensor>>,
    room: Room,
}

impl Caches {
    /// Declares them.
    pub fn declare(store: &mut Store, config: &Config, room: Room) -> Self {
        let mut declare = |[rows, cols]: [usize; 2]| store.declare("cache", Role::Cache, rows, cols);
        let layers = config
            .layers
            .iter()
            .map(|layer| layer.mixer.caches(room))
            .map(|shapes| shapes.into_iter().map(&mut declare).collect());
        Self { layers: layers.collect(), room }
    }

    /// Bytes of the largest tensor.
    pub fn largest(&self) -> u64 {
        self.layers.iter().flatten().map(Tensor::bytes).max().unwrap_or(0)
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
        let tables =
            config.rotations().into_iter().map(|rotation| Tables::declare(store, rotation, positions)).collect();
        Self { config, weights, adapter: None, tables }
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
        let Self { config, weights, tables, .. } = self;
        Self { config: config.clone(), weights: weights.clone(), adapter, tables: tables.clone() }
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
        self.tables.iter().flat_map(|tables| tables.tensors).collect()
    }

    /// The rotary tables and their values.
    pub fn rotary_tables(&self) -> Vec<(Tensor, Vec<f32>)> {
        self.tables.iter().flat_map(Tables::values).collect()
    }

    /// Final hidden states `[T, C]`, after the last norm. `noise` is put on the embeddings; of the first `recompute`
    /// layers only the input is kept for backward: at the end of forward, where most is held, and in the last layers'
    /// backward nothing of theirs is there yet.
    pub fn hidden(&self, tape: &mut Tape, inputs: Inputs, noise: Option<Noise>, recompute: usize) -> Tensor {
        self.trained().into_iter().for_each(|(weight, gradient)| tape.train(weight, gradient));
        let tokens = self.tokens(tape, inputs);
        self.forward(tape, &tokens, noise, recompute)
    }

    /// Final hidden states of new tokens, whose `rows` `[1, T]` are those of [`Room`]. A token sees the rows of its span;
    /// its position is a row of the rotary tables, counted from the first one of its text where [`Model::long_texts`] says.
    pub fn hidden_cached(&self, tape: &mut Tape, inputs: Inputs, rows: Tensor, caches: &Caches) -> Tensor {
        let cached = caches.layers.iter().map(|tensors| Cached { tensors, rows, room: caches.room }).collect();
        let tokens = Tokens { inputs, rows: vec![inputs.positions; self.tables.len()], cached };
        self.forward(tape, &tokens, None, 0)
    }

    /// Whole documents, which go through the layers.
    fn tokens(&self, tape: &mut Tape, inputs: Inputs) -> Tokens<'static> {
        let rows = self.tables.iter().map(|tables| tables.rows(tape, inputs)).collect();
        Tokens { inputs, rows, cached: Vec::new() }
    }

    fn forward(&self, tape: &mut Tape, tokens: &Tokens<'_>, noise: Option<Noise>, recompute: usize) -> Tensor {
        let mut x = self.embeddings(tape, tokens.inputs);
        if let Some(noise) = noise {
            x = ops::noise(tape, x, noise);
        }
        for layer in 0..self.config.layers.len() {
            let record = |tape: &mut Tape| self.layer_with(tape, tokens, [layer; 2], x);
            x = if layer < recompute { tape.recompute(record) } else { record(tape) };
        }
        self.last_norm(tape, x)
    }

    /// What goes into the first layer, `[T, C]`.
    pub fn embeddings(&self, tape: &mut Tape, inputs: Inputs) -> Tensor {
        ops::embedding(tape, inputs.tokens, inputs.order, self.shards(EMBEDDING), self.config.embedding_scale)
    }

    /// Final hidden states `[T, C]` of what came out of the last layer.
    pub fn last_norm(&self, tape: &mut Tape, x: Tensor) -> Tensor {
        let weight = self.shards(&format!("{}.weight", self.config.module(None, "norm")))[0];
        ops::rms_norm(tape, x, weight, self.config.norm)
    }

    /// What turns these hidden states `[T, C]` into logits `[T, V]`.
    pub fn head(&self, hidden: Tensor) -> Head<'_> {
        Head { hidden, weight: self.head_weight(), softcap: self.config.final_softcap }
    }

    /// Shards of the matrix of the head.
    pub(crate) fn head_weight(&self) -> &[Tensor] {
        let own = self.adapter.as_ref().map_or(&[][..], |adapter| adapter.instead(HEAD));
        match own {
            // A tied head stays that of the base where an adapter trains the embedding alone, as in PEFT.
            [] => self.weights.shards(self.config.head()),
            own => own,
        }
    }

    /// The parts of the rotary tables, where the length of a text decides.
    pub fn long_texts(&self) -> Option<LongTexts> {
        self.tables.iter().find_map(|tables| tables.long)
    }

    /// The tensors of a parameter: the adapter's, if it has its own.
    fn shards(&self, name: &str) -> &[Tensor] {
        match self.adapter.as_ref().map_or(&[][..], |adapter| adapter.instead(name)) {
            [] => self.weights.shards(name),
            own => own,
        }
    }
}
