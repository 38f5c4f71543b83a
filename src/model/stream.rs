//! A frozen model of which one layer at a time is on the device: the parameters of the first layer stand for those of each,
//! and take the values of one after the other.

use std::sync::Arc;

use super::{Config, Error, Inputs, Model, Parameter, weights::Weights};
use crate::{
    formats::TensorSource,
    gpu::Upload,
    graph::{
        ops,
        tape::Tape,
        tensor::{Memory, Role, Store, Tensor},
    },
};

/// Begins the names of the first layer's parameters.
const FIRST: &str = "model.layers.0.";
/// Begins those of any.
const ANY: &str = "model.layers.";

impl Model {
    /// As [`Model::declare`] of a frozen model, with room for one layer.
    ///
    /// # Errors
    /// As there.
    pub fn declare_streamed(
        store: &mut Store,
        config: Config,
        role: Role,
        positions: usize,
        max_binding: u64,
    ) -> Result<Self, Error> {
        let wanted = |parameter: &Parameter| !parameter.name.starts_with(ANY) || parameter.name.starts_with(FIRST);
        let weights = Arc::new(Weights::declare(store, &config, wanted, role, false, max_binding)?);
        Ok(Self::of(store, config, weights, positions))
    }

    /// The first layer that is computed as `layer` is.
    pub fn alike(&self, layer: usize) -> usize {
        let windows = &self.config.windows;
        windows.iter().position(|window| *window == windows[layer]).unwrap_or(layer)
    }

    /// What goes into the first layer, `[T, C]`.
    pub fn embeddings(&self, tape: &mut Tape, inputs: Inputs) -> Tensor {
        let table = self.shards("model.embed_tokens.weight");
        ops::embedding(tape, inputs.tokens, inputs.order, table, self.config.embedding_scale)
    }

    /// `x` `[T, C]` through a layer like `layer`, by the weights that are there.
    pub fn layer(&self, tape: &mut Tape, inputs: Inputs, layer: usize, x: Tensor) -> Tensor {
        let attend = |tape: &mut Tape, q, k, v| {
            ops::attention(tape, [q, k, v], self.heads(), self.scores(layer), inputs.spans, inputs.ends)
        };
        let rotary = match &self.local_tables {
            Some(local) if self.config.windows[layer].is_some() => self.rotary(local, inputs.positions),
            _ => self.text_rotary(tape, inputs),
        };
        self.block(tape, 0, x, rotary, attend)
    }

    /// Final hidden states `[T, C]` of what came out of the last layer.
    pub fn last_norm(&self, tape: &mut Tape, x: Tensor) -> Tensor {
        self.norm(tape, x, "model.norm")
    }

    /// Bytes of a layer's parameters, where one of them is there at a time.
    pub fn layer_bytes(&self) -> u64 {
        let layer = self.weights.iter().filter(|stored| stored.parameter.name.starts_with(FIRST));
        layer.flat_map(|stored| &stored.shards).map(Tensor::bytes).sum()
    }

    /// Reads the values of a layer from the model's folder.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or damaged, or the device fails.
    pub fn load_layer(
        &self,
        upload: &mut Upload<'_>,
        memory: &Memory,
        source: &dyn TensorSource,
        layer: usize,
    ) -> Result<(), Error> {
        let first = |name: &str| name.strip_prefix(FIRST).map(|rest| format!("{ANY}{layer}.{rest}"));
        self.weights.read(upload, memory, source, first)
    }
}
