//! The models of a phase by their shapes alone, without weights.

use std::path::Path;

use super::{error::Error, source};
use crate::{
    model,
    objective::{self, Auxiliary, Origin},
    settings::Config,
    train::engine::{AuxiliaryModel, HiddenSource, Spec},
};

/// With the hidden states of what does not learn cached, if the settings want that.
pub(super) fn cached(config: &Config, mut spec: Spec) -> Spec {
    let learning: Vec<bool> = spec.learning().collect();
    let frozen = spec.auxiliaries.iter_mut().zip(learning).filter(|(_, learns)| !learns && config.cache_weak);
    frozen.for_each(|(auxiliary, _)| auxiliary.hidden = HiddenSource::Cached);
    spec
}

/// The shapes of the models that `config.method` has in its largest phase, beside a main one of shape `main`: folders need only
/// a `config.json`. The same as of the opened models where there are weights too.
///
/// # Errors
/// If one of them cannot be read.
pub fn outline(config: &Config, main: &model::Config) -> Result<Spec, Error> {
    let adapter = source::tuned(config, main)?;
    let of_main = |adapter| {
        let shares_base = config.trains_adapter();
        AuxiliaryModel { adapter, shares_base, ..AuxiliaryModel::new(main.clone()) }
    };
    let separate = |folder: &Path| source::shape(folder).map(|(config, _)| AuxiliaryModel::new(config));
    let start = || adapter.as_ref().filter(|tuned| tuned.folder.is_some()).map(|tuned| tuned.layout.clone());
    let shape = |Auxiliary { origin, .. }: Auxiliary| match origin {
        Origin::Folder(folder) if folder == Path::new(source::BASE) => Ok(of_main(None)),
        Origin::Folder(folder) if source::is_adapter_alone(&folder) => {
            Ok(of_main(Some(source::open_adapter(&folder, main)?.layout)))
        }
        Origin::Folder(folder) => separate(&folder),
        Origin::Start | Origin::Missing { .. } => Ok(of_main(start())),
        // Whichever is chosen, none takes more than the largest.
        Origin::Candidates => {
            let candidates = config.candidate.iter().filter(|folder| !source::is_adapter_alone(folder));
            let shapes = candidates.map(|folder| separate(folder)).collect::<Result<Vec<_>, Error>>()?;
            let largest = shapes.into_iter().max_by_key(|shape| shape.config.parameter_count());
            Ok(largest.unwrap_or_else(|| of_main(None)))
        }
    };
    let objective = objective::of(config);
    let auxiliaries = objective.auxiliaries().into_iter().map(shape).collect::<Result<_, Error>>()?;
    let layout = adapter.as_ref().map(|tuned| tuned.layout.clone());
    Ok(cached(config, Spec { adapter: layout, ..Spec::new(main.clone(), objective, auxiliaries, 0) }))
}
