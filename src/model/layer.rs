//! One layer over the tape: two parts, each added to the stream, with norms before or behind them.

use super::{
    Model,
    config::LayerSpec,
    part::{Cached, Inputs, Part, Recorder},
    rope::Rotation,
};
use crate::graph::{
    ops::{self, Norm},
    tape::Tape,
    tensor::Tensor,
};

/// The tokens that go through the layers.
pub(super) struct Tokens<'a> {
    pub(super) inputs: Inputs,
    /// Row of each token in each of the model's rotary tables.
    pub(super) rows: Vec<Tensor>,
    /// What each layer keeps of the tokens before; none where the sequence holds whole documents.
    pub(super) cached: Vec<Cached<'a>>,
}

/// A layer that is being recorded.
struct Layer<'a, 't> {
    model: &'a Model,
    tape: &'t mut Tape,
    tokens: &'a Tokens<'a>,
    /// Which layer it is.
    index: usize,
    /// The layer whose weights stand for its own.
    weights: usize,
}

impl Model {
    /// `x` `[T, C]` through layer `index`, by the weights of layer `weights`.
    pub(super) fn layer_with(
        &self,
        tape: &mut Tape,
        tokens: &Tokens<'_>,
        [index, weights]: [usize; 2],
        x: Tensor,
    ) -> Tensor {
        let LayerSpec { mixer, ffn, norms: [before, behind, between, last] } = &self.config.layers[index];
        let mut layer = Layer { model: self, tape, tokens, index, weights };
        let h = before.map_or(x, |norm| layer.normalised(x, norm));
        let mixed = mixer.record(&mut layer, h);
        let [x, h] = layer.join(x, mixed, [*behind, *between]);
        let fed = ffn.record(&mut layer, h);
        layer.join(x, fed, [*last, None])[0]
    }

    /// `x` through each part of a module, which is one unless it is fused. `residual` is added to what has no bias.
    fn project(&self, tape: &mut Tape, x: Tensor, module: &str, residual: Option<Tensor>) -> Vec<Tensor> {
        let weights = self.shards(&format!("{module}.weight"));
        let biases = self.shards(&format!("{module}.bias"));
        assert!(biases.is_empty() || residual.is_none(), "{module}: a product adds a bias or a residual");
        let added = |part: usize| biases.get(part).copied().or(residual);
        let adapter = self.adapter.as_ref();
        let adapted = adapter.and_then(|adapter| adapter.project(tape, x, module, weights, added));
        adapted.unwrap_or_else(|| {
            weights.iter().enumerate().map(|(part, weight)| ops::linear(tape, x, *weight, added(part))).collect()
        })
    }
}

impl Layer<'_, '_> {
    /// A module by its name in checkpoints.
    fn name(&self, module: &str) -> String {
        self.model.config.module(Some(self.weights), module)
    }

    fn normalised(&mut self, x: Tensor, module: &str) -> Tensor {
        let (weight, norm) = (self.norm_weight(module), self.norm());
        ops::rms_norm(self.tape, x, weight, norm)
    }

    fn norm_weight(&self, module: &str) -> Tensor {
        self.weight(module)[0].unwrap_or_else(|| panic!("no parameter {}.weight", self.name(module)))
    }

    /// `x` through `module` and the norm `behind` it, added to the stream, and the `next` norm of the sum. The stream is
    /// added as the product is written; where something stands between them, as the next norm reads their sum.
    fn join(
        &mut self,
        stream: Tensor,
        (x, module): (Tensor, &str),
        [behind, next]: [Option<&str>; 2],
    ) -> [Tensor; 2] {
        let decomposed = self.model.adapter.as_ref().is_some_and(|adapter| adapter.is_decomposed());
        let biased = self.weight(module)[1].is_some();
        let module = self.name(module);
        if behind.is_none() && !biased && !decomposed {
            let sum = self.model.project(self.tape, x, &module, Some(stream))[0];
            return [sum, next.map_or(sum, |next| self.normalised(sum, next))];
        }
        let mut out = self.model.project(self.tape, x, &module, None)[0];
        if let Some(behind) = behind {
            out = self.normalised(out, behind);
        }
        match next {
            Some(next) => {
                let (weight, norm) = (self.norm_weight(next), self.norm());
                ops::add_norm(self.tape, stream, out, weight, norm)
            }
            None => [ops::add(self.tape, stream, out); 2],
        }
    }
}

impl Recorder for Layer<'_, '_> {
    fn tape(&mut self) -> &mut Tape {
        self.tape
    }

    fn linears<const N: usize>(&mut self, x: Tensor, modules: [&str; N]) -> [Tensor; N] {
        let mut last = (String::new(), Vec::new().into_iter());
        modules.map(|module| {
            let name = self.name(module);
            if last.0 != name {
                let parts = self.model.project(self.tape, x, &name, None);
                last = (name, parts.into_iter());
            }
            last.1.next().unwrap_or_else(|| panic!("{} has no part for {module}", last.0))
        })
    }

    fn weight(&self, module: &str) -> [Option<Tensor>; 2] {
        let module = self.name(module);
        ["weight", "bias"].map(|kind| self.model.shards(&format!("{module}.{kind}")).first().copied())
    }

    fn norm(&self) -> Norm {
        self.model.config.norm
    }

    fn inputs(&self) -> Inputs {
        self.tokens.inputs
    }

    fn rotary(&self, rotation: &Rotation) -> [Tensor; 3] {
        let mut tables = self.model.tables.iter().zip(&self.tokens.rows);
        let found = tables.find(|(tables, _)| tables.rotation == *rotation);
        let (tables, rows) = found.unwrap_or_else(|| panic!("no tables for {rotation:?}"));
        [*rows, tables.tensors[0], tables.tensors[1]]
    }

    fn cached(&self) -> Option<Cached<'_>> {
        self.tokens.cached.get(self.index).copied()
    }
}
