//! A frozen model of which one layer at a time is on the device: the first layer of each shape has room for its
//! parameters, and takes the values of one layer of that shape after the other.

use std::sync::Arc;

use super::{
    Model,
    config::Config,
    parameter::Parameter,
    part::Inputs,
    weights::{Error, Weights},
};
use crate::{
    formats::TensorSource,
    gpu::Upload,
    graph::{
        tape::Tape,
        tensor::{Memory, Role, Store, Tensor},
    },
};

impl Config {
    /// For each layer, the first one that has the same parameters.
    fn first_of_shape(&self) -> Vec<usize> {
        let parameters = self.parameters();
        let shape = |layer| -> Vec<(&str, &[usize])> {
            let own = parameters.iter().filter(|parameter| parameter.layer == Some(layer));
            own.map(|parameter| (parameter.local_name(), parameter.dims.as_slice())).collect()
        };
        let shapes: Vec<_> = (0..self.layers.len()).map(shape).collect();
        shapes.iter().map(|shape| shapes.iter().position(|first| first == shape).unwrap_or(0)).collect()
    }
}

impl Model {
    /// As [`Model::declare`] of a frozen model, with room for one layer of each shape.
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
        let firsts = config.first_of_shape();
        let wanted = |parameter: &Parameter| parameter.layer.is_none_or(|layer| firsts[layer] == layer);
        let weights = Arc::new(Weights::declare(store, &config, wanted, role, false, max_binding)?);
        Ok(Self::of(store, config, weights, positions))
    }

    /// The first layer that is computed as `layer` is.
    pub fn alike(&self, layer: usize) -> usize {
        let layers = &self.config.layers;
        layers.iter().position(|first| *first == layers[layer]).unwrap_or(layer)
    }

    /// `x` `[T, C]` through a layer like `layer`, by the weights that are there.
    pub fn layer(&self, tape: &mut Tape, inputs: Inputs, layer: usize, x: Tensor) -> Tensor {
        let tokens = self.tokens(tape, inputs);
        self.layer_with(tape, &tokens, [layer, self.config.first_of_shape()[layer]], x)
    }

    /// Bytes of the largest layer's parameters, where one of them is there at a time.
    pub fn layer_bytes(&self) -> u64 {
        let of = |layer| {
            let own = self.weights.iter().filter(move |stored| stored.parameter.layer == Some(layer));
            own.flat_map(|stored| &stored.shards).map(Tensor::bytes).sum()
        };
        (0..self.config.layers.len()).map(of).max().unwrap_or(0)
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
        let first = self.config.first_of_shape()[layer];
        let named = |parameter: &Parameter| (parameter.layer == Some(first)).then(|| parameter.name_in(layer));
        self.weights.read(upload, memory, source, named)
    }
}
