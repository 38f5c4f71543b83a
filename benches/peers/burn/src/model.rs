//! Qwen3 in burn's own modules.

use burn::{
    module::{Module, Param},
    nn::{Embedding, Linear, RmsNorm},
    tensor::{Device, Int, Tensor, TensorData, activation::silu, module::attention, ops::AttentionModuleOptions},
};

use crate::workload::{EPS, THETA, Workload, values};

/// The decoder; its head is the embedding.
#[derive(Module, Debug)]
pub struct Model {
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    rotary: Rotary,
}

#[derive(Module, Debug)]
struct Layer {
    attention: Attention,
    mlp: Mlp,
    attention_norm: RmsNorm,
    mlp_norm: RmsNorm,
}

#[derive(Module, Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    head_dim: usize,
}

#[derive(Module, Debug)]
struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// Cosines and sines of every position, `[T, D / 2]`; burn's own rotary module turns neighbours, Qwen3 halves.
#[derive(Module, Debug)]
struct Rotary {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Model {
    /// With the weights that `values` gives under Hugging Face's names.
    pub fn new(workload: &Workload, device: &Device) -> Self {
        let &Workload { hidden, vocab, head_dim, tokens, .. } = workload;
        let weight = values("model.embed_tokens.weight", vocab * hidden);
        Self {
            embedding: Embedding { weight: Param::from_data(TensorData::new(weight, [vocab, hidden]), device) },
            layers: (0..workload.layers)
                .map(|i| Layer::new(&format!("model.layers.{i}"), workload, device))
                .collect(),
            norm: norm("model.norm", hidden, device),
            rotary: Rotary::new(tokens, head_dim, device),
        }
    }

    /// `tokens: [1, T]`; returns logits `[T, V]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let x = self.layers.iter().fold(self.embedding.forward(tokens), |x, layer| layer.forward(x, &self.rotary));
        let [_, rows, width] = x.dims();
        self.norm.forward(x).reshape([rows, width]).matmul(self.embedding.weight.val().transpose())
    }
}

impl Layer {
    fn new(at: &str, workload: &Workload, device: &Device) -> Self {
        Self {
            attention: Attention::new(&format!("{at}.self_attn"), workload, device),
            mlp: Mlp::new(&format!("{at}.mlp"), workload, device),
            attention_norm: norm(&format!("{at}.input_layernorm"), workload.hidden, device),
            mlp_norm: norm(&format!("{at}.post_attention_layernorm"), workload.hidden, device),
        }
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.attention_norm.forward(x), rotary);
        x.clone() + self.mlp.forward(self.mlp_norm.forward(x))
    }
}

impl Attention {
    fn new(at: &str, workload: &Workload, device: &Device) -> Self {
        let &Workload { hidden, heads, kv_heads, head_dim, .. } = workload;
        let project = |name: &str, input, output| linear(&format!("{at}.{name}_proj"), input, output, device);
        Self {
            q: project("q", hidden, heads * head_dim),
            k: project("k", hidden, kv_heads * head_dim),
            v: project("v", hidden, kv_heads * head_dim),
            o: project("o", heads * head_dim, hidden),
            q_norm: norm(&format!("{at}.q_norm"), head_dim, device),
            k_norm: norm(&format!("{at}.k_norm"), head_dim, device),
            head_dim,
        }
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary) -> Tensor<3> {
        let [batch, rows, _] = x.dims();
        // [B, T, H * D] -> [B, T, H, D]
        let split = |x: Tensor<3>| {
            let heads = x.dims()[2] / self.head_dim;
            x.reshape([batch, rows, heads, self.head_dim])
        };
        let q = rotary.forward(self.q_norm.forward(split(self.q.forward(x.clone()))).swap_dims(1, 2));
        let k = rotary.forward(self.k_norm.forward(split(self.k.forward(x.clone()))).swap_dims(1, 2));
        let v = split(self.v.forward(x)).swap_dims(1, 2);
        let heads = q.dims()[1];
        let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let y = attention(q, repeat(k, heads), repeat(v, heads), None, None, options);
        self.o.forward(y.swap_dims(1, 2).reshape([batch, rows, heads * self.head_dim]))
    }
}

/// `[B, K, T, D] -> [B, H, T, D]`: every kv head for its group of query heads.
fn repeat(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, kv_heads, rows, head_dim] = x.dims();
    let x = x.reshape([batch, kv_heads, 1, rows, head_dim]);
    x.expand([batch, kv_heads, heads / kv_heads, rows, head_dim]).reshape([batch, heads, rows, head_dim])
}

impl Mlp {
    fn new(at: &str, workload: &Workload, device: &Device) -> Self {
        let &Workload { hidden, ffn, .. } = workload;
        let project = |name: &str, input, output| linear(&format!("{at}.{name}_proj"), input, output, device);
        Self {
            gate: project("gate", hidden, ffn),
            up: project("up", hidden, ffn),
            down: project("down", ffn, hidden),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down.forward(silu(self.gate.forward(x.clone())) * self.up.forward(x))
    }
}

impl Rotary {
    fn new(rows: usize, head_dim: usize, device: &Device) -> Self {
        let half = head_dim / 2;
        let table = |f: fn(f64) -> f64| {
            let angle = |at: usize| (at / half) as f64 / THETA.powf((at % half) as f64 / half as f64);
            let values: Vec<f32> = (0..rows * half).map(|at| f(angle(at)) as f32).collect();
            // Constants: nothing flows into them.
            Tensor::from_data(TensorData::new(values, [rows, half]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// `x: [B, H, T, D]`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let (low, high) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let (cos, sin) = (self.cos.clone().unsqueeze::<4>(), self.sin.clone().unsqueeze::<4>());
        let turned_low = low.clone() * cos.clone() - high.clone() * sin.clone();
        let turned_high = high * cos + low * sin;
        Tensor::cat(vec![turned_low, turned_high], 3)
    }
}

/// Hugging Face keeps `[out, in]`, burn multiplies by `[in, out]`.
fn linear(module: &str, input: usize, output: usize, device: &Device) -> Linear {
    let rows = values(&format!("{module}.weight"), output * input);
    let columns = (0..input * output).map(|at| rows[at % output * input + at / output]).collect();
    let weight = TensorData::new::<f32, _>(columns, [input, output]);
    Linear { weight: Param::from_data(weight, device), bias: None }
}

fn norm(module: &str, width: usize, device: &Device) -> RmsNorm {
    let gamma = TensorData::new(values(&format!("{module}.weight"), width), [width]);
    RmsNorm { gamma: Param::from_data(gamma, device), epsilon: EPS }
}
