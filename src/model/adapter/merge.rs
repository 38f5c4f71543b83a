//! An adapter merged into its base: the parameters of a model that needs no adapter.

use super::{
    super::{
        config::Config,
        parameter::{EMBEDDING, HEAD},
    },
    layout::Layout,
};
use crate::formats::{self, ADAPTER_PREFIX, Entry, Part, ReadTensors, TensorSource, tensor_name};

impl Layout {
    /// Every parameter of the merged model, and whether its head is one of its own where the base's is the embedding.
    pub fn merged_entries(&self, model: &Config) -> (Vec<Entry>, bool) {
        let mut entries = model.entries();
        let parts = |name: &str| self.whole.iter().any(|whole| whole.parameter.name == name);
        // One of the two changes and the other does not, or both do, each its own way.
        let unties = model.tied && (parts(EMBEDDING) || parts(HEAD));
        if unties && let Some(embedding) = entries.iter().find(|entry| entry.name == EMBEDDING) {
            entries.push(Entry { name: HEAD.into(), ..embedding.clone() });
        }
        (entries, unties)
    }

    /// A parameter of the merged model: `W + s B A`, with the rows of DoRA scaled to their lengths, or what was trained whole.
    /// Sums are made in f32.
    ///
    /// # Errors
    /// If a tensor of either folder is missing, misshapen or damaged.
    pub fn merged(
        &self,
        entry: &Entry,
        base: &dyn TensorSource,
        adapter: &dyn TensorSource,
        model: &Config,
    ) -> Result<Vec<f32>, formats::Error> {
        if self.whole.iter().any(|whole| whole.parameter.name == entry.name) {
            return adapter.read_vec(&format!("{ADAPTER_PREFIX}{}", entry.name), &entry.dims);
        }
        let name = if model.tied && entry.name == HEAD { EMBEDDING } else { &entry.name };
        let mut weight = base.read_vec(name, &entry.dims)?;
        let Some(module) = self.modules.iter().find(|module| entry.name == format!("{}.weight", module.name)) else {
            return Ok(weight);
        };
        let read = |part, dims: &[usize]| adapter.read_vec(&tensor_name(&module.name, part), dims);
        let a = read(Part::A, &[module.rank, module.inputs])?;
        let b = read(Part::B, &[module.outputs(), module.rank])?;
        for (row, b) in weight.chunks_mut(module.inputs).zip(b.chunks(module.rank)) {
            for (b, a) in b.iter().zip(a.chunks(module.inputs)) {
                let factor = module.scale * b;
                row.iter_mut().zip(a).for_each(|(w, a)| *w += factor * a);
            }
        }
        if self.config.dora {
            let lengths = read(Part::Magnitude, &[module.outputs()])?;
            for (row, wanted) in weight.chunks_mut(module.inputs).zip(lengths) {
                let is = length(row);
                let factor = if is > 0.0 { wanted / is } else { 0.0 };
                row.iter_mut().for_each(|w| *w *= factor);
            }
        }
        Ok(weight)
    }
}

/// Of a row of a matrix.
pub(super) fn length(row: &[f32]) -> f32 {
    row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32
}
