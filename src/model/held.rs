//! How the matrices of a model are held; where they do not learn, as its folder has them.

use std::collections::BTreeMap;

use super::{
    config::{Config, Held},
    parameter::Parameter,
    weights::{Error, format},
};
use crate::{
    formats::{ReadTensors, TensorSource},
    graph::tensor::Format,
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
            formats.insert(parameter.name.clone(), (format(storage), parameter.is_matrix()));
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

    /// How a parameter, and its gradient if it learns, is held in shards of these shapes, if its sizes allow it.
    pub(super) fn format(&self, parameter: &Parameter, shards: &[[usize; 2]]) -> Format {
        let by_kind = if parameter.is_table() { self.held.table } else { self.held.linear };
        let format = self.formats.get(&parameter.name).copied().unwrap_or(by_kind);
        let fits = format.takes(parameter.cols()) && shards.iter().all(|[rows, _]| rows.is_multiple_of(PACKED_ROWS));
        if parameter.is_matrix() && fits { format } else { Format::F32 }
    }
}
