//! One transformer block: pre-norm attention and a gated MLP, each added to the residual stream.

use super::Model;
use crate::{
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
        let norm = |tape: &mut Tape, x, name: &str| {
            let weight = self.weights.get(&format!("model.layers.{layer}.{name}.weight"));
            ops::rms_norm(tape, x, weight, self.config.eps)
        };
        let linear = |tape: &mut Tape, x, name: &str| {
            let at = format!("model.layers.{layer}.{name}");
            let weight = self.weights.get(&format!("{at}.weight"));
            ops::linear(tape, x, weight, self.weights.find(&format!("{at}.bias")))
        };

        let h = norm(tape, x, "input_layernorm");
        let [mut q, mut k, v] = ["q_proj", "k_proj", "v_proj"].map(|p| linear(tape, h, &format!("self_attn.{p}")));
        if self.config.qk_norm {
            q = norm(tape, q, "self_attn.q_norm");
            k = norm(tape, k, "self_attn.k_norm");
        }
        q = ops::rope(tape, q, rotary);
        k = ops::rope(tape, k, rotary);
        let attended = attend(tape, q, k, v);
        let out = linear(tape, attended, "self_attn.o_proj");
        let x = ops::add(tape, x, out);

        let h = norm(tape, x, "post_attention_layernorm");
        let gate = linear(tape, h, "mlp.gate_proj");
        let up = linear(tape, h, "mlp.up_proj");
        let gated = ops::gated_mlp(tape, gate, up);
        let out = linear(tape, gated, "mlp.down_proj");
        ops::add(tape, x, out)
    }
}
