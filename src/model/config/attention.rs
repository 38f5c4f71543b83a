//! What most families read alike: the heads of attention, and the feed-forward.

use serde_json::Value;

use super::{Attention, Error, Fields, Gated, LayerSpec, Norms, QkNorm, Rotation};
use crate::graph::ops::{Activation, Heads, Scores};

impl Fields<'_> {
    /// Attention over all keys, scaled by the root of the head size, with neither biases nor norms of its own.
    pub(crate) fn attention(&self, rotation: Rotation) -> Result<Attention, Error> {
        let heads = self.heads()?;
        Ok(Attention {
            heads,
            scores: Scores::plain(heads.head_dim),
            rotation: Some(rotation),
            qk_norm: QkNorm::None,
            qkv_bias: false,
            out_bias: false,
        })
    }

    /// How queries, keys and values divide into heads.
    pub(crate) fn heads(&self) -> Result<Heads, Error> {
        let (hidden, heads) = (self.size("hidden_size", 1 << 16)?, self.size("num_attention_heads", 1 << 12)?);
        // An explicit null asks for plain multi-head attention in every class.
        let grouped = self.stated("num_key_value_heads");
        let kv_heads = grouped.map_or(Ok(heads), |_| self.size("num_key_value_heads", 1 << 12))?;
        let head_dim = self.size_or("head_dim", hidden / heads, 1 << 10)?;
        if !heads.is_multiple_of(kv_heads) {
            let wants = format!("a divisor of `num_attention_heads` = {heads}");
            return Err(self.wrong("num_key_value_heads", kv_heads, wants));
        }
        if self.get("head_dim").is_none() && !hidden.is_multiple_of(heads) {
            let wants = format!("a divisor of `hidden_size` = {hidden}, as there is no `head_dim`");
            return Err(self.wrong("num_attention_heads", heads, wants));
        }
        if !head_dim.is_multiple_of(4) {
            let wants = "a multiple of 4: attention reads that many channels at a time";
            return Err(self.wrong("head_dim", head_dim, wants));
        }
        Ok(Heads { heads, kv_heads, head_dim })
    }

    /// A feed-forward without biases, whose activation stands in `activation`.
    pub(crate) fn gated(&self, activation: &str) -> Result<Gated, Error> {
        let width = self.size("intermediate_size", 1 << 20)?;
        let value = self.get(activation).unwrap_or(&Value::Null);
        let activation = match value.as_str() {
            Some("silu" | "swish") => Activation::Silu,
            Some("gelu_pytorch_tanh") => Activation::GeluTanh,
            _ => {
                let reason = "the supported activations are silu and gelu_pytorch_tanh";
                return Err(self.unsupported(activation, value, reason));
            }
        };
        Ok(Gated { width, activation, bias: false })
    }
}

impl Attention {
    /// With biases on all projections, or none.
    pub(crate) fn biased(self, bias: bool) -> Self {
        Self { qkv_bias: bias, out_bias: bias, ..self }
    }

    /// Layers that differ in their windows alone.
    pub(crate) fn layers(&self, windows: &[Option<usize>], ffn: Gated, norms: Norms) -> Vec<LayerSpec> {
        let layer = |window: &Option<usize>| {
            let scores = Scores { window: *window, ..self.scores };
            LayerSpec { mixer: Self { scores, ..self.clone() }.into(), ffn, norms }
        };
        windows.iter().map(layer).collect()
    }
}
