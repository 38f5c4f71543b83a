//! How the matrices of a model are held; where they do not learn, as its folder has them.

use std::collections::BTreeMap;

use super::{
    Error,
    config::{Config, Held, Parameter},
};
use crate::{
    formats::{Layout, ReadTensors, Storage, TensorSource},
    graph::tensor::{Format, QUANTILES},
};

/// Rows of packed matrices come in these numbers, so that products can read four at a time.
const PACKED_ROWS: usize = 4;

impl Config {
    /// Has the matrices held as a folder has them where they do not learn: in 16 bits if all of it is stored so, each for
    /// itself if some are quantised.
    ///
    /// # Errors
    /// If a quantised matrix cannot be read.
    pub fn hold_as_stored(&mut self, source: &dyn TensorSource) -> Result<(), Error> {
        self.widen();
        let mut formats = BTreeMap::new();
        let mut quantised = false;
        for parameter in self.parameters() {
            let storage = source.storage(&parameter.name, &parameter.dims)?;
            quantised |= storage.group > 1;
            formats.insert(parameter.name, (format(storage), parameter.dims.len() == 2));
        }
        for (held, all) in [(Held::BF16, Format::Bf16), (Held::F16, Format::F16)] {
            if formats.values().all(|(format, _)| *format == all) {
                self.held = held;
            }
        }
        if quantised {
            let matrices = formats.into_iter().filter(|(_, (_, is_matrix))| *is_matrix);
            self.formats = matrices.map(|(name, (format, _))| (name, format)).collect();
        }
        self.quantised |= quantised;
        Ok(())
    }

    /// How a parameter, and its gradient if it learns, is held in shards of these rows, if its sizes allow it.
    pub(super) fn format(&self, parameter: &Parameter, rows: &[usize]) -> Format {
        let by_kind = if parameter.is_table() { self.held.table } else { self.held.linear };
        let format = self.formats.get(&parameter.name).copied().unwrap_or(by_kind);
        let fits = format.takes(parameter.cols()) && rows.iter().all(|n| n.is_multiple_of(PACKED_ROWS));
        if parameter.dims.len() == 2 && fits { format } else { Format::F32 }
    }
}

/// What holds numbers as they are stored; f32 where nothing does.
pub(super) fn format(storage: Storage) -> Format {
    use safetensors::Dtype::{BF16, F16};
    match (storage.layout, storage.bits) {
        (Layout::Plain(BF16), _) => Format::Bf16,
        (Layout::Plain(F16), _) => Format::F16,
        (Layout::Table(QUANTILES), _) => Format::Nf4,
        (Layout::Affine, 4) => Format::Q4,
        (Layout::Affine, 8) => Format::Q8,
        _ => Format::F32,
    }
}
