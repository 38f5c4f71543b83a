//! The list of a model's parameters: names, shapes and initial values, in the order of transformers.
//!
//! Loading, initialising, counting and saving all walk this one list.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::Config;
use crate::checkpoint::Entry;

/// One trained tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The name in Hugging Face checkpoints.
    pub name: String,
    /// The shape in Hugging Face checkpoints, outermost first: `[out, in]` for a projection, `[n]` for a norm or bias.
    pub dims: Vec<usize>,
    /// What a fresh model starts with.
    pub init: Init,
}

/// The distribution that a parameter starts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Independent normal values of this standard deviation, mean 0.
    Normal(f32),
    /// All ones: norms.
    Ones,
    /// All zeros: biases.
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
        }
    }
}

impl From<&Parameter> for Entry {
    fn from(parameter: &Parameter) -> Entry {
        Entry { name: parameter.name.clone(), dims: parameter.dims.clone() }
    }
}

fn normal(seed: u64, name: &str, std: f64, count: usize) -> Vec<f32> {
    let key = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
    let mut rng = ChaCha8Rng::from_seed(key.into());
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
        let mut list = List { std: self.init_std, parameters: Vec::new() };
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

    /// [`Config::parameters`] as the checkpoint room takes them, in the same order.
    pub fn entries(&self) -> Vec<Entry> {
        self.parameters().iter().map(Entry::from).collect()
    }

    /// Number of trained values in the model.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(Parameter::count).sum()
    }

    fn block(&self, at: &str, list: &mut List) {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        list.matrix(&format!("{at}.self_attn.q_proj"), [queries, self.hidden], self.qkv_bias);
        list.matrix(&format!("{at}.self_attn.k_proj"), [keys, self.hidden], self.qkv_bias);
        list.matrix(&format!("{at}.self_attn.v_proj"), [keys, self.hidden], self.qkv_bias);
        list.matrix(&format!("{at}.self_attn.o_proj"), [self.hidden, queries], self.out_bias);
        if self.qk_norm {
            list.norm(&format!("{at}.self_attn.q_norm"), self.head_dim);
            list.norm(&format!("{at}.self_attn.k_norm"), self.head_dim);
        }
        list.matrix(&format!("{at}.mlp.gate_proj"), [self.ffn, self.hidden], self.mlp_bias);
        list.matrix(&format!("{at}.mlp.up_proj"), [self.ffn, self.hidden], self.mlp_bias);
        list.matrix(&format!("{at}.mlp.down_proj"), [self.hidden, self.ffn], self.mlp_bias);
        list.norm(&format!("{at}.input_layernorm"), self.hidden);
        list.norm(&format!("{at}.post_attention_layernorm"), self.hidden);
    }
}

struct List {
    std: f32,
    parameters: Vec<Parameter>,
}

impl List {
    fn matrix(&mut self, module: &str, dims: [usize; 2], bias: bool) {
        self.push(module, "weight", dims.to_vec(), Init::Normal(self.std));
        if bias {
            self.push(module, "bias", vec![dims[0]], Init::Zeros);
        }
    }

    fn norm(&mut self, module: &str, width: usize) {
        self.push(module, "weight", vec![width], Init::Ones);
    }

    fn push(&mut self, module: &str, kind: &str, dims: Vec<usize>, init: Init) {
        self.parameters.push(Parameter { name: format!("{module}.{kind}"), dims, init });
    }
}
