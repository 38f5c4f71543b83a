//! Which modules of a model an adapter changes, and the parameters that this takes. Names and defaults are PEFT's.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::super::{
    config::Config,
    parameter::{EMBEDDING, HEAD, Init, Parameter},
};
use crate::formats::{
    ADAPTER_PREFIX, AdapterConfig, AdapterFolder, Entry, Part, ReadTensors, ends_with, tensor_name,
};

/// Why an adapter does not go with a model.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A module that is to be adapted is not there.
    #[error("no module `{target}` to adapt; this model has {known}")]
    Target {
        /// What was asked for.
        target: String,
        /// What there is.
        known: String,
    },
    /// A module that is to be trained whole is not there.
    #[error("no module `{module}` to train whole; this model has {known}")]
    Saved {
        /// What was asked for.
        module: String,
        /// What there is.
        known: String,
    },
    /// A module would be adapted and trained whole.
    #[error("`{module}` cannot be adapted and trained whole; leave it out of one of the two")]
    Both {
        /// Which.
        module: String,
    },
    /// A layer beyond the last.
    #[error("layer {layer} is to be adapted, and the model has layers 0 to {last}")]
    Layer {
        /// What was asked for.
        layer: usize,
        /// The last there is.
        last: usize,
    },
    /// Nothing is left to train.
    #[error("the adapter changes no module")]
    Nothing,
    /// An adapter's file is of another model.
    #[error("{folder}: {reason}; the adapter belongs to another base or is not whole")]
    OtherBase {
        /// The adapter.
        folder: String,
        /// What does not fit.
        reason: String,
    },
    /// A tensor does not fit.
    #[error("{0}; the adapter belongs to another base, or its ranks are not those of its adapter_config.json")]
    Tensor(crate::formats::Error),
}

/// An adapted matrix.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) inputs: usize,
    /// Outputs of each part of the matrix.
    parts: Vec<usize>,
    /// The layer that it belongs to.
    layer: Option<usize>,
    pub(super) rank: usize,
    pub(super) scale: f32,
}

/// A parameter that is trained whole, and the one of the base that it starts as.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Whole {
    pub(super) parameter: Parameter,
    pub(super) base: String,
}

/// What an adapter adds to a model of some shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// As it is written: `targets` names what is adapted.
    pub config: AdapterConfig,
    pub(super) modules: Vec<Module>,
    pub(super) whole: Vec<Whole>,
}

/// Every matrix of the layers.
fn linears(model: &Config) -> Vec<Parameter> {
    model.parameters().into_iter().filter(|parameter| parameter.is_matrix() && parameter.layer.is_some()).collect()
}

/// The last components of some modules' names, each once, in their order.
fn last_names<'a>(modules: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in modules {
        let last = name.rsplit('.').next().unwrap_or(name);
        if !names.iter().any(|known| known == last) {
            names.push(last.into());
        }
    }
    names
}

impl Layout {
    /// What it adds to the head; `None` if that stays.
    pub fn of_head(&self) -> Option<Self> {
        let own = |whole: &&Whole| whole.parameter.name == HEAD;
        let whole: Vec<Whole> = self.whole.iter().filter(own).cloned().collect();
        (!whole.is_empty()).then(|| Self { config: self.config.clone(), modules: Vec::new(), whole })
    }

    /// What `wanted` comes to on a model.
    ///
    /// # Errors
    /// A module or a layer that is not there; says what is.
    pub fn resolve(wanted: &AdapterConfig, model: &Config) -> Result<Self, LayoutError> {
        let linears = linears(model);
        let names = || last_names(linears.iter().map(Parameter::module));
        let is_there = |target: &&String| linears.iter().any(|linear| ends_with(linear.module(), target));
        if let Some(target) = wanted.targets.iter().find(|target| !is_there(target)) {
            let known = format!("{} (or all-linear)", names().join(", "));
            return Err(LayoutError::Target { target: target.clone(), known });
        }
        let last = model.layers.len() - 1;
        if let Some(layer) = wanted.layers.iter().flatten().find(|layer| **layer > last) {
            return Err(LayoutError::Layer { layer: *layer, last });
        }
        let targeted = |name: &str| wanted.targets.is_empty() || wanted.targets.iter().any(|t| ends_with(name, t));
        let chosen =
            linears.iter().filter(|linear| in_layers(&wanted.layers, linear.layer) && targeted(linear.module()));
        let targets = if wanted.targets.is_empty() { names() } else { wanted.targets.clone() };
        let config = AdapterConfig { targets, ..wanted.clone() };
        let whole = whole(&wanted.saved, model)?;
        Self::of(config, &chosen.collect::<Vec<_>>(), whole)
    }

    /// What an adapter that is there adds to a model.
    ///
    /// # Errors
    /// It is not of this model, or not whole.
    pub fn of_folder(folder: &AdapterFolder, model: &Config) -> Result<Self, LayoutError> {
        let other = |reason: String| LayoutError::OtherBase { folder: folder.path.display().to_string(), reason };
        let linears = linears(model);
        let known = |name: &String| linears.iter().any(|linear| linear.module() == name);
        if let Some(name) = folder.modules.iter().find(|name| !known(name)) {
            let names = last_names(linears.iter().map(Parameter::module)).join(", ");
            return Err(other(format!(
                "it adapts `{name}`, which the model has not (layers 0 to {} with {names})",
                model.layers.len() - 1
            )));
        }
        let config = &folder.config;
        let wanted = |linear: &&Parameter| {
            let targeted = config.targets.iter().any(|target| ends_with(linear.module(), target));
            targeted && in_layers(&config.layers, linear.layer)
        };
        let has = |linear: &&Parameter| folder.modules.iter().any(|name| name == linear.module());
        if let Some(linear) = linears.iter().find(|linear| wanted(linear) && !has(linear)) {
            let name = linear.module();
            return Err(other(format!("its adapter_config.json asks for `{name}`, and no tensors of it are there")));
        }
        let chosen: Vec<&Parameter> = linears.iter().filter(has).collect();
        let whole = folder.saved.iter().map(|name| of_base(name, model).ok_or_else(|| name.clone()));
        let whole = whole.collect::<Result<Vec<_>, _>>();
        let whole = whole.map_err(|name| other(format!("it holds `{name}`, which the model has not")))?;
        let mut config = config.clone();
        (config.targets, config.layers) = described(&chosen, &linears, model.layers.len());
        let modules = || whole.iter().map(|w| w.parameter.module());
        if !modules().all(|module| config.saved.iter().any(|name| ends_with(module, name))) {
            config.saved = modules().map(str::to_owned).collect();
        }
        let layout = Self::of(config, &chosen, whole)?;
        folder.check(&layout.entries()).map_err(LayoutError::Tensor)?;
        Ok(layout)
    }

    fn of(config: AdapterConfig, chosen: &[&Parameter], whole: Vec<Whole>) -> Result<Self, LayoutError> {
        let module = |linear: &&Parameter| {
            let (rank, scale) = config.rank_and_scale(linear.module());
            let parts = linear.part_shapes().into_iter().map(|[rows, _]| rows).collect();
            let (name, inputs, layer) = (linear.module().into(), linear.cols(), linear.layer);
            Module { name, inputs, parts, layer, rank, scale: scale as f32 }
        };
        let modules: Vec<Module> = chosen.iter().map(module).collect();
        let both = modules.iter().find(|m| whole.iter().any(|w| w.parameter.module() == m.name));
        match both {
            Some(module) => Err(LayoutError::Both { module: module.name.clone() }),
            None if modules.is_empty() && whole.is_empty() => Err(LayoutError::Nothing),
            None => Ok(Self { config, modules, whole }),
        }
    }

    /// Every parameter of the adapter by its name in PEFT's files, in the order of the model.
    pub fn entries(&self) -> Vec<Entry> {
        self.parameters().iter().map(|(parameter, _)| Entry::from(parameter)).collect()
    }

    /// Number of values that it adds.
    pub fn parameter_count(&self) -> usize {
        self.entries().iter().map(Entry::count).sum()
    }

    /// Parameters, and which part of a module each is.
    pub(super) fn parameters(&self) -> Vec<(Parameter, Option<Part>)> {
        let mut all = Vec::new();
        for module in &self.modules {
            for (part, dims) in module.shapes(self.config.dora) {
                let name = tensor_name(&module.name, part);
                let init = match part {
                    // PEFT's default, Kaiming's rule with a = sqrt(5).
                    Part::A => Init::Uniform((1.0 / (module.inputs as f64).sqrt()) as f32),
                    Part::B => Init::Zeros,
                    Part::Magnitude => Init::Ones,
                };
                let parts = if part == Part::A { Vec::new() } else { module.parts.clone() };
                all.push((Parameter { name, dims, init, parts, layer: module.layer }, Some(part)));
            }
        }
        let named =
            |w: &Whole| Parameter { name: format!("{ADAPTER_PREFIX}{}", w.parameter.name), ..w.parameter.clone() };
        all.extend(self.whole.iter().map(|w| (named(w), None)));
        all
    }
}

impl Module {
    pub(super) fn outputs(&self) -> usize {
        self.parts.iter().sum()
    }

    pub(super) fn shapes(&self, dora: bool) -> Vec<(Part, Vec<usize>)> {
        let mut shapes = vec![(Part::A, vec![self.rank, self.inputs]), (Part::B, vec![self.outputs(), self.rank])];
        shapes.extend(dora.then(|| (Part::Magnitude, vec![self.outputs()])));
        shapes
    }

    /// Tells its dropout from that of other modules.
    pub(super) fn salt(&self) -> u32 {
        let hash = Sha256::digest(&self.name);
        u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]])
    }
}

/// Whether a layer is among those to be adapted, which are all where none is named.
fn in_layers(wanted: &Option<Vec<usize>>, layer: Option<usize>) -> bool {
    wanted.as_ref().is_none_or(|wanted| layer.is_some_and(|layer| wanted.contains(&layer)))
}

/// `target_modules` and `layers_to_transform` that mean these modules and no others: last names where they do.
fn described(chosen: &[&Parameter], linears: &[Parameter], layers: usize) -> (Vec<String>, Option<Vec<usize>>) {
    let names = last_names(chosen.iter().map(|linear| linear.module()));
    let in_them: BTreeSet<usize> = chosen.iter().filter_map(|linear| linear.layer).collect();
    let is_meant = |linear: &&Parameter| {
        names.iter().any(|last| ends_with(linear.module(), last))
            && linear.layer.is_some_and(|layer| in_them.contains(&layer))
    };
    if linears.iter().filter(is_meant).count() != chosen.len() {
        return (chosen.iter().map(|linear| linear.module().to_owned()).collect(), None);
    }
    (names, (in_them.len() < layers).then(|| in_them.into_iter().collect()))
}

/// A parameter to be trained whole. A tied head that is trained becomes one of its own and starts as the embedding.
fn of_base(name: &str, model: &Config) -> Option<Whole> {
    let base = if name == HEAD && model.tied { EMBEDDING } else { name };
    let parameter = model.parameters().into_iter().find(|p| p.name == base)?;
    Some(Whole { parameter: Parameter { name: name.into(), ..parameter }, base: base.into() })
}

/// The parameters of modules that are to be trained whole.
fn whole(modules: &[String], model: &Config) -> Result<Vec<Whole>, LayoutError> {
    let head = model.tied.then(|| of_base(HEAD, model)).flatten().map(|head| head.parameter);
    let known: Vec<Parameter> = model.parameters().into_iter().chain(head).collect();
    if let Some(module) = modules.iter().find(|m| !known.iter().any(|known| ends_with(known.module(), m))) {
        let known = last_names(known.iter().map(Parameter::module)).join(", ");
        return Err(LayoutError::Saved { module: module.clone(), known });
    }
    let chosen = known.iter().filter(|known| modules.iter().any(|m| ends_with(known.module(), m)));
    Ok(chosen.filter_map(|known| of_base(&known.name, model)).collect())
}
