//! A model's parameters: names, shapes and initial values, in the order of transformers.
//!
//! Loading, initialising, counting and saving all walk this one list.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::formats::Entry;

/// The embedding, and the head where that is no matrix of its own.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The head where it is a matrix of its own.
pub(crate) const HEAD: &str = "lm_head.weight";

/// A family's names of modules, by ours: within a layer, or behind `model.`. Matrices of one name are parts of one matrix,
/// one behind the other. Of a layer's parameters, those with a name here come first, in this order.
pub(crate) type Names = &'static [(&'static str, &'static str)];

/// A module by its family's name, in a layer or outside of all.
pub(crate) fn module_name(names: Names, layer: Option<usize>, module: &str) -> String {
    let renamed = names.iter().find(|(ours, _)| *ours == module).map_or(module, |(_, theirs)| theirs);
    layer.map_or_else(|| format!("model.{renamed}"), |layer| format!("{}{renamed}", layer_prefix(layer)))
}

fn layer_prefix(layer: usize) -> String {
    format!("model.layers.{layer}.")
}

/// One trained tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The name in Hugging Face checkpoints.
    pub name: String,
    /// The shape in Hugging Face checkpoints, outermost first: `[out, in]` for a projection, `[n]` for a norm or bias.
    pub dims: Vec<usize>,
    /// What a fresh model starts with.
    pub init: Init,
    /// Lengths along the first dimension of the parts that are used each on its own, where there are several.
    pub parts: Vec<usize>,
    /// The layer that it belongs to, if any.
    pub layer: Option<usize>,
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

    /// Whether it is a matrix: what can be quantised, and in a layer be adapted.
    pub fn is_matrix(&self) -> bool {
        self.dims.len() == 2
    }

    /// Whether it is indexed by token.
    pub fn is_table(&self) -> bool {
        self.is_matrix() && self.layer.is_none()
    }

    /// Its name in the layer that it belongs to.
    pub(crate) fn local_name(&self) -> &str {
        let prefix = self.layer.map(layer_prefix).unwrap_or_default();
        self.name.strip_prefix(&prefix).unwrap_or(&self.name)
    }

    /// The name that it has in another layer.
    pub(crate) fn name_in(&self, layer: usize) -> String {
        format!("{}{}", layer_prefix(layer), self.local_name())
    }

    /// The module that it belongs to.
    pub(crate) fn module(&self) -> &str {
        self.name.rsplit_once('.').map_or(&self.name, |(module, _)| module)
    }

    /// Rows and columns of its parts, or of itself.
    pub(crate) fn part_shapes(&self) -> Vec<[usize; 2]> {
        let part = |n: &usize| if self.dims.len() == 1 { [1, *n] } else { [*n, self.cols()] };
        if self.parts.is_empty() { vec![[self.rows(), self.cols()]] } else { self.parts.iter().map(part).collect() }
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

/// The parameters of a model as its parts list them.
pub(crate) struct List {
    /// `C`, the width of the stream.
    pub(crate) hidden: usize,
    std: f32,
    norm: Init,
    names: Names,
    layer: Option<usize>,
    /// Where the layer's parameters begin.
    start: usize,
    parameters: Vec<Parameter>,
}

impl List {
    /// Of a model of width `hidden`, whose matrices start with standard deviation `std` and whose norms start as `norm`.
    pub(crate) fn new(hidden: usize, std: f32, norm: Init, names: Names) -> Self {
        Self { hidden, std, norm, names, layer: None, start: 0, parameters: Vec::new() }
    }

    /// What `declare` lists are the parameters of a layer.
    pub(crate) fn layer(&mut self, layer: usize, declare: impl FnOnce(&mut Self)) {
        (self.layer, self.start) = (Some(layer), self.parameters.len());
        declare(self);
        let names = self.names;
        let place = |parameter: &Parameter| {
            let module = parameter.module();
            let named = names.iter().position(|(ours, _)| module_name(names, Some(layer), ours) == module);
            named.unwrap_or(names.len())
        };
        self.parameters[self.start..].sort_by_key(place);
        (self.layer, self.start) = (None, self.parameters.len());
    }

    /// A matrix `[out, in]`, with a bias where there is one.
    pub(crate) fn matrix(&mut self, module: &str, dims: [usize; 2], bias: bool) {
        self.weight(module, dims.to_vec(), bias);
    }

    /// A weight of another shape, the outermost dimension first.
    pub(crate) fn weight(&mut self, module: &str, dims: Vec<usize>, bias: bool) {
        let module = module_name(self.names, self.layer, module);
        let out = dims[0];
        self.push(format!("{module}.weight"), dims, Init::Normal(self.std));
        if bias {
            self.push(format!("{module}.bias"), vec![out], Init::Zeros);
        }
    }

    /// The weight of an RMS norm.
    pub(crate) fn norm(&mut self, module: &str, width: usize) {
        let module = module_name(self.names, self.layer, module);
        self.push(format!("{module}.weight"), vec![width], self.norm);
    }

    /// The parameters listed so far. An untied head stands outside of `model.`.
    pub(crate) fn finish(mut self, untied: Option<[usize; 2]>) -> Vec<Parameter> {
        if let Some(dims) = untied {
            self.push(HEAD.into(), dims.to_vec(), Init::Normal(self.std));
        }
        self.parameters
    }

    fn push(&mut self, name: String, dims: Vec<usize>, init: Init) {
        let whole = self.parameters[self.start..].iter_mut().find(|parameter| parameter.name == name);
        if let Some(Parameter { dims: all, parts, .. }) = whole {
            if parts.is_empty() {
                parts.push(all[0]);
            }
            parts.push(dims[0]);
            all[0] += dims[0];
            return;
        }
        self.parameters.push(Parameter { name, dims, init, parts: Vec::new(), layer: self.layer });
    }
}
