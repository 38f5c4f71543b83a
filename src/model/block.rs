//! One transformer block: attention and a gated MLP, each added to the residual stream, with norms before or behind them.

use super::{Adapter, Model, config::QkNorm};
use crate::graph::{
    ops::{self, Rotary},
    tape::Tape,
    tensor::Tensor,
};

impl Model {
    /// `x`: `[T, C]`; `attend` turns rotated queries, keys and values into `[T, H * D]`.
    pub(super) fn block(
        &self,
        tape: &mut Tape,
        layer: usize,
        x: Tensor,
        rotary: Rotary,
        attend: impl FnOnce(&mut Tape, Tensor, Tensor, Tensor) -> Tensor,
    ) -> Tensor {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let [before_attention, behind_attention, before_mlp, behind_mlp] = self.config.norms.modules();

        let h = before_attention.map_or(x, |name| self.norm(tape, x, &at(name)));
        let [mut q, mut k, v] = self.linears(tape, h, &at("self_attn"), "qkv_proj", ["q_proj", "k_proj", "v_proj"]);
        for (x, name) in [(&mut q, "self_attn.q_norm"), (&mut k, "self_attn.k_norm")] {
            *x = self.turned(tape, *x, &at(name), rotary);
        }
        let attended = attend(tape, q, k, v);
        let norms = [behind_attention, before_mlp].map(|name| name.map(at));
        let [x, h] = self.join(tape, x, attended, &at("self_attn.o_proj"), norms);
        let [gate, up] = self.linears(tape, h, &at("mlp"), "gate_up_proj", ["gate_proj", "up_proj"]);
        let gated = ops::gated_mlp(tape, gate, up, self.config.activation);
        let [x, _] = self.join(tape, x, gated, &at("mlp.down_proj"), [behind_mlp.map(at), None]);
        x
    }

    /// `x` through `module` and the norm `behind` it, added to the residual stream, and the `next` norm of the sum. The stream
    /// is added as the product is written; where something stands between them, as the next norm reads their sum.
    fn join(
        &self,
        tape: &mut Tape,
        stream: Tensor,
        x: Tensor,
        module: &str,
        [behind, next]: [Option<String>; 2],
    ) -> [Tensor; 2] {
        let decomposed = self.adapter.as_ref().is_some_and(Adapter::is_decomposed);
        let biased = !self.shards(&format!("{module}.bias")).is_empty();
        if behind.is_none() && !biased && !decomposed {
            let sum = self.project(tape, x, module, Some(stream))[0];
            return [sum, next.map_or(sum, |next| self.norm(tape, sum, &next))];
        }
        let mut out = self.linear(tape, x, module);
        if let Some(behind) = behind {
            out = self.norm(tape, out, &behind);
        }
        match next {
            Some(next) => ops::add_norm(tape, stream, out, self.norm_weight(&next), self.norm_constants()),
            None => [ops::add(tape, stream, out); 2],
        }
    }

    /// Queries or keys by their positions, behind the norm `module` where there is one.
    fn turned(&self, tape: &mut Tape, x: Tensor, module: &str, rotary: Rotary) -> Tensor {
        match self.config.qk_norm {
            QkNorm::None => ops::rope(tape, x, rotary),
            QkNorm::Width => {
                let x = self.norm(tape, x, module);
                ops::rope(tape, x, rotary)
            }
            QkNorm::Head => ops::norm_rope(tape, x, self.norm_weight(module), self.norm_constants(), rotary),
        }
    }

    pub(super) fn norm(&self, tape: &mut Tape, x: Tensor, module: &str) -> Tensor {
        ops::rms_norm(tape, x, self.norm_weight(module), self.norm_constants())
    }

    fn norm_weight(&self, module: &str) -> Tensor {
        self.shards(&format!("{module}.weight"))[0]
    }

    fn norm_constants(&self) -> ops::Norm {
        ops::Norm { eps: self.config.eps, offset: self.config.norm_offset }
    }

    fn linear(&self, tape: &mut Tape, x: Tensor, module: &str) -> Tensor {
        self.project(tape, x, module, None)[0]
    }

    /// Several projections of `x`, from the parts of one fused matrix or from a matrix each.
    fn linears<const N: usize>(
        &self,
        tape: &mut Tape,
        x: Tensor,
        within: &str,
        fused: &str,
        names: [&str; N],
    ) -> [Tensor; N] {
        if !self.config.fused {
            return names.map(|name| self.linear(tape, x, &format!("{within}.{name}")));
        }
        let parts = self.project(tape, x, &format!("{within}.{fused}"), None);
        std::array::from_fn(|part| parts[part])
    }

    /// `x` through each part of a module, which is one unless it is fused; `residual` is added, to what has no bias.
    fn project(&self, tape: &mut Tape, x: Tensor, module: &str, residual: Option<Tensor>) -> Vec<Tensor> {
        let weights = self.shards(&format!("{module}.weight"));
        let bias = self.shards(&format!("{module}.bias")).first().copied();
        assert!(bias.is_none() || residual.is_none(), "{module}: a product adds a bias or a residual");
        let added = bias.or(residual);
        let adapter = self.adapter.as_ref();
        let adapted = adapter.and_then(|adapter| adapter.project(tape, x, module, weights, added));
        adapted.unwrap_or_else(|| weights.iter().map(|w| ops::linear(tape, x, *w, added)).collect())
    }
}
