//! The list of a model's parameters: names, shapes and initial values, in the order of transformers.
//!
//! Loading, initialising, counting and saving all walk this one list.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::{Config, QkNorm};
use crate::formats::Entry;

/// One trained tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The name in Hugging Face checkpoints.
    pub name: String,
    /// The shape in Hugging Face checkpoints, outermost first: `[out, in]` for a projection, `[n]` for a norm or bias.
    pub dims: Vec<usize>,
    /// What a fresh model starts with.
    pub init: Init,
    /// Rows of the parts that are used each on its own, where there are several.
    pub parts: Vec<usize>,
}

/// The distribution that a parameter starts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Independent normal values of this standard deviation, mean 0.
    Normal(f32),
    /// Independent uniform values up to this size.
    Uniform(f32),
    /// All ones: norms.
    Ones,
    /// All zeros: biases, and norms whose weight is added to 1.
    Zeros,
}

impl Parameter {
    /// Rows of the tensor seen as a matrix: 1 for a vector.
    pub fn rows(&self) -> usize {
        self.dims.iter().rev().skip(1).product()
    }

    /// Columns of the tensor seen as a matrix: its innermost dimension.
    pub fn cols(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether it is indexed by token.
    pub fn is_table(&self) -> bool {
        matches!(self.name.as_str(), "model.embed_tokens.weight" | "lm_head.weight")
    }

    /// Fresh values, row-major. They depend on `seed`, the name and the shape alone, not on the order of calls.
    ///
    /// Normal values are Box-Muller pairs in f64 over ChaCha8, whose key is the SHA-256 of seed and name, rounded to
    /// f32. The stream is the same everywhere; a machine whose `ln` or `cos` differs in the last bit of f64 may differ in
    /// the last bit of a rare value.
    pub fn init_values(&self, seed: u64) -> Vec<f32> {
        match self.init {
            Init::Ones => vec![1.0; self.count()],
            Init::Zeros => vec![0.0; self.count()],
            Init::Normal(std) => normal(seed, &self.name, f64::from(std), self.count()),
            Init::Uniform(most) => uniform(seed, &self.name, f64::from(most), self.count()),
        }
    }
}

impl From<&Parameter> for Entry {
    fn from(parameter: &Parameter) -> Entry {
        Entry { name: parameter.name.clone(), dims: parameter.dims.clone() }
    }
}

/// The random numbers of a parameter.
fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    let key = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
    ChaCha8Rng::from_seed(key.into())
}

fn uniform(seed: u64, name: &str, most: f64, count: usize) -> Vec<f32> {
    let mut rng = stream(seed, name);
    (0..count).map(|_| (most * (2.0 * unit(rng.next_u64()) - 1.0)) as f32).collect()
}

fn normal(seed: u64, name: &str, std: f64, count: usize) -> Vec<f32> {
    let mut rng = stream(seed, name);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = std * (-2.0 * unit(rng.next_u64()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * unit(rng.next_u64())).sin_cos();
        values.extend([(radius * cos) as f32, (radius * sin) as f32]);
    }
    values.truncate(count);
    values
}

/// The 53 upper bits as a number in (0, 1]: never 0, whose logarithm is infinite.
fn unit(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

impl Config {
    /// Every parameter of the model, in the order of transformers' `named_parameters`.
    ///
    /// A tied head is the embedding and is not listed.
    pub fn parameters(&self) -> Vec<Parameter> {
        let embedding = [self.vocab, self.hidden];
        let mut list = List { std: self.init_std, norm: self.norm_init(), parameters: Vec::new() };
        list.matrix("model.embed_tokens", embedding, false);
        for layer in 0..self.layers {
            self.block(&format!("model.layers.{layer}"), &mut list);
        }
        list.norm("model.norm", self.hidden);
        if !self.tied {
            list.matrix("lm_head", embedding, false);
        }
        list.parameters
    }

    /// The name of the matrix that turns hidden states into logits.
    pub fn head(&self) -> &'static str {
        if self.tied { "model.embed_tokens.weight" } else { "lm_head.weight" }
    }

    /// [`Config::parameters`] as the checkpoint room takes them, in the same order.
    pub fn entries(&self) -> Vec<Entry> {
        self.parameters().iter().map(Entry::from).collect()
    }

    /// Number of trained values in the model.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(Parameter::count).sum()
    }

    /// A norm starts as the identity.
    fn norm_init(&self) -> Init {
        if self.norm_offset == 0.0 { Init::Ones } else { Init::Zeros }
    }

    fn block(&self, at: &str, list: &mut List) {
        self.attention(&format!("{at}.self_attn"), list);
        let mlp = |name: &str| format!("{at}.mlp.{name}");
        if self.fused {
            list.fused(&mlp("gate_up_proj"), [2 * self.ffn, self.hidden], &[self.ffn; 2]);
        } else {
            list.matrix(&mlp("gate_proj"), [self.ffn, self.hidden], self.mlp_bias);
            list.matrix(&mlp("up_proj"), [self.ffn, self.hidden], self.mlp_bias);
        }
        list.matrix(&mlp("down_proj"), [self.hidden, self.ffn], self.mlp_bias);
        for module in self.norms.modules().into_iter().flatten() {
            list.norm(&format!("{at}.{module}"), self.hidden);
        }
    }

    fn attention(&self, at: &str, list: &mut List) {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        if self.fused {
            list.matrix(&format!("{at}.o_proj"), [self.hidden, queries], self.out_bias);
            list.fused(&format!("{at}.qkv_proj"), [queries + 2 * keys, self.hidden], &[queries, keys, keys]);
        } else {
            list.matrix(&format!("{at}.q_proj"), [queries, self.hidden], self.qkv_bias);
            list.matrix(&format!("{at}.k_proj"), [keys, self.hidden], self.qkv_bias);
            list.matrix(&format!("{at}.v_proj"), [keys, self.hidden], self.qkv_bias);
            list.matrix(&format!("{at}.o_proj"), [self.hidden, queries], self.out_bias);
        }
        let widths = match self.qk_norm {
            QkNorm::None => return,
            QkNorm::Head => [self.head_dim; 2],
            QkNorm::Width => [queries, keys],
        };
        list.norm(&format!("{at}.q_norm"), widths[0]);
        list.norm(&format!("{at}.k_norm"), widths[1]);
    }
}

struct List {
    std: f32,
    norm: Init,
    parameters: Vec<Parameter>,
}

impl List {
    fn matrix(&mut self, module: &str, dims: [usize; 2], bias: bool) {
        self.fused(module, dims, &[]);
        if bias {
            self.push(module, "bias", vec![dims[0]], Init::Zeros);
        }
    }

    fn fused(&mut self, module: &str, dims: [usize; 2], parts: &[usize]) {
        self.push(module, "weight", dims.to_vec(), Init::Normal(self.std));
        if let Some(matrix) = self.parameters.last_mut() {
            matrix.parts = parts.to_vec();
        }
    }

    fn norm(&mut self, module: &str, width: usize) {
        self.push(module, "weight", vec![width], self.norm);
    }

    fn push(&mut self, module: &str, kind: &str, dims: Vec<usize>, init: Init) {
        self.parameters.push(Parameter { name: format!("{module}.{kind}"), dims, init, parts: Vec::new() });
    }
}
