//! Low-rank adapters on a frozen model: their parameters, and the projections through them.
//!
//! An adapter holds no weight of its base. A [`Model`](super::Model) with an adapter, without one, and with another are views
//! of one copy of the base.

mod layout;
mod merge;

use std::collections::HashMap;

use super::weights::{Error, Stored, Weights, shard_shapes};
use crate::{
    formats::{ADAPTER_PREFIX, Part, ReadTensors, TensorSource, tensor_name},
    gpu::{self, Gpu, Upload},
    graph::{
        ops::{self, Decomposed, Dropout},
        tape::Tape,
        tensor::{Memory, Role, Store, Tensor},
    },
};
pub use layout::{Layout, LayoutError};
use layout::{Module, Whole};
use merge::length;

/// The tensors of an adapted matrix.
struct Pair {
    a: Tensor,
    /// `[R, N]` of each part: `B` transposed.
    b: Vec<Tensor>,
    /// `[1, N]` of each part; empty without DoRA.
    magnitude: Vec<Tensor>,
    scale: f32,
    dropout: Option<Dropout>,
}

/// A declared adapter.
pub struct Adapter {
    /// What it adds.
    pub layout: Layout,
    /// Its parameters, by PEFT's names.
    pub weights: Weights,
    pairs: HashMap<String, Pair>,
}

impl Adapter {
    /// Declares an adapter and, if `trained`, its gradients. `keys` `[1, T]` are where the randomness of each token starts:
    /// without them nothing is dropped.
    ///
    /// # Errors
    /// If a parameter exceeds what the device binds.
    pub fn declare(
        store: &mut Store,
        layout: Layout,
        role: Role,
        trained: bool,
        keys: Option<Tensor>,
        max_binding: u64,
    ) -> Result<Self, Error> {
        let mut stored = Vec::new();
        for (parameter, part) in layout.parameters() {
            let mut shapes = match part {
                Some(_) => parameter.part_shapes(),
                None => shard_shapes(&parameter, max_binding)?,
            };
            if part == Some(Part::B) {
                shapes.iter_mut().for_each(|shape| shape.reverse());
            }
            let mut declare = |role| -> Vec<Tensor> {
                shapes.iter().map(|[rows, cols]| store.declare(&parameter.name, role, *rows, *cols)).collect()
            };
            let shards = declare(role);
            let gradients = if trained { declare(Role::Gradients) } else { Vec::new() };
            stored.push(Stored { parameter, shards, gradients, transposed: part == Some(Part::B) });
        }
        let weights = Weights::of(stored);
        let dropout = |module: &Module| {
            let rate = layout.config.dropout;
            let keys = keys.filter(|_| rate > 0.0)?;
            Some(Dropout { keys, salt: module.salt(), rate })
        };
        let pair = |module: &Module| {
            let shards = |part| weights.shards(&tensor_name(&module.name, part)).to_vec();
            let (a, b, magnitude) = (shards(Part::A)[0], shards(Part::B), shards(Part::Magnitude));
            (module.name.clone(), Pair { a, b, magnitude, scale: module.scale, dropout: dropout(module) })
        };
        let pairs = layout.modules.iter().map(pair).collect();
        Ok(Self { layout, weights, pairs })
    }

    /// Gives it the values that it starts with: those of `seed`, and what of the base is trained whole.
    ///
    /// # Errors
    /// If the base cannot be read or the device fails.
    pub fn start(&self, gpu: &Gpu, memory: &Memory, base: &dyn TensorSource, seed: u64) -> Result<(), Error> {
        let mut upload = Upload::new(gpu);
        for stored in self.weights.iter() {
            stored.write(&mut upload, memory, 0, &stored.parameter.init_values(seed))?;
        }
        for module in self.layout.modules.iter().filter(|_| self.layout.config.dora) {
            let dims = [module.outputs(), module.inputs];
            let weight = base.read_vec(&format!("{}.weight", module.name), &dims)?;
            let lengths: Vec<f32> = weight.chunks(module.inputs).map(length).collect();
            self.put(&mut upload, memory, &tensor_name(&module.name, Part::Magnitude), &lengths)?;
        }
        for Whole { parameter, base: name } in &self.layout.whole {
            let values = base.read_vec(name, &parameter.dims)?;
            self.put(&mut upload, memory, &format!("{ADAPTER_PREFIX}{}", parameter.name), &values)?;
        }
        Ok(upload.finish()?)
    }

    /// Copies the values of a folder to the device.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or damaged, or the device fails.
    pub fn load(&self, gpu: &Gpu, memory: &Memory, source: &dyn TensorSource) -> Result<(), Error> {
        let mut upload = Upload::new(gpu);
        for stored in self.weights.iter() {
            let values = source.read_vec(&stored.parameter.name, &stored.parameter.dims)?;
            stored.write(&mut upload, memory, 0, &values)?;
        }
        Ok(upload.finish()?)
    }

    fn put(&self, upload: &mut Upload<'_>, memory: &Memory, name: &str, values: &[f32]) -> Result<(), gpu::Error> {
        let stored = self.weights.iter().find(|stored| stored.parameter.name == name);
        stored.map_or(Ok(()), |stored| stored.write(upload, memory, 0, values))
    }

    /// The shards that stand for a parameter of the base; empty if that stays.
    pub(super) fn instead(&self, parameter: &str) -> &[Tensor] {
        self.weights.shards(&format!("{ADAPTER_PREFIX}{parameter}"))
    }

    /// Whether matrices are held as directions and lengths.
    pub(super) fn is_decomposed(&self) -> bool {
        self.layout.config.dora
    }

    /// `x` `[T, K]` through the parts of a matrix of the base, with what is `added` to the product of each (under DoRA, a
    /// bias); `None` if it is not adapted.
    pub(super) fn project(
        &self,
        tape: &mut Tape,
        x: Tensor,
        module: &str,
        weights: &[Tensor],
        added: impl Fn(usize) -> Option<Tensor>,
    ) -> Option<Vec<Tensor>> {
        let &Pair { a, ref b, ref magnitude, scale, dropout } = self.pairs.get(module)?;
        let down = ops::lora_down(tape, x, a, scale, dropout);
        let part = |(i, weight): (usize, &Tensor)| match magnitude.get(i) {
            None => ops::lora_up(tape, x, *weight, added(i), [down, b[i]]),
            Some(magnitude) => {
                let parts = Decomposed { a, down, b: b[i], magnitude: *magnitude, scale, dropout };
                ops::dora(tape, x, *weight, added(i), parts)
            }
        };
        Some(weights.iter().enumerate().map(part).collect())
    }
}
