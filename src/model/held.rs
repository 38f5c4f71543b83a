//! How the matrices of a model are held; where they do not learn, as its folder has them.

use super::{
    Error,
    config::{Config, Held, Parameter},
};
use crate::{
    formats::{Coding, Folder},
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
    pub fn hold_as_stored(&mut self, folder: &Folder) -> Result<(), Error> {
        use safetensors::Dtype::{BF16, F16};
        self.widen();
        let parameters = self.parameters();
        let dtype = |parameter: &Parameter| folder.tensor(&parameter.name).map(|stored| stored.dtype);
        let of = [(BF16, Held::BF16), (F16, Held::F16)];
        if let Some((_, held)) = of.iter().find(|(of, _)| parameters.iter().all(|p| dtype(p) == Some(*of))) {
            self.held = *held;
        }
        let mut quantised = false;
        for parameter in parameters.iter().filter(|parameter| parameter.dims.len() == 2) {
            let found = folder.quantised(&parameter.name, &parameter.dims)?;
            quantised |= found.is_some();
            let plain = || {
                of.iter().find(|(of, _)| dtype(parameter) == Some(*of)).map_or(Format::F32, |(_, held)| held.linear)
            };
            let format = found.map_or_else(plain, |found| format(found.coding));
            self.formats.insert(parameter.name.clone(), format);
        }
        if !quantised {
            self.formats.clear();
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

/// What holds such codes as they are; f32 where nothing does.
pub(super) fn format(coding: Coding) -> Format {
    match coding {
        Coding::Table(QUANTILES) => Format::Nf4,
        Coding::Affine(4) => Format::Q4,
        Coding::Affine(8) => Format::Q8,
        Coding::Table(_) | Coding::Affine(_) => Format::F32,
    }
}
