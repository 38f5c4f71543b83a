//! Which modules of a model an adapter changes, and the parameters that this takes. Names and defaults are PEFT's.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::super::{Config, Parameter, config::Init};
use crate::formats::{
    ADAPTER_PREFIX, AdapterConfig, AdapterFolder, Entry, Part, ReadTensors, ends_with, tensor_name,
};

pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(super) const HEAD: &str = "lm_head.weight";

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

/// A matrix of a block: its module, inputs, outputs of its parts.
type Linear = (String, usize, Vec<usize>);

/// Every matrix of the blocks.
fn linears(model: &Config) -> Vec<Linear> {
    let linear = |p: Parameter| {
        let name = p.name.strip_suffix(".weight").filter(|_| p.dims.len() == 2)?;
        let parts = if p.parts.is_empty() { vec![p.rows()] } else { p.parts.clone() };
        name.starts_with("model.layers.").then(|| (name.to_owned(), p.cols(), parts))
    };
    model.parameters().into_iter().filter_map(linear).collect()
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

fn layer_of(module: &str) -> Option<usize> {
    module.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
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
        let names = || last_names(linears.iter().map(|(name, ..)| name.as_str()));
        let is_there = |target: &&String| linears.iter().any(|(name, ..)| ends_with(name, target));
        if let Some(target) = wanted.targets.iter().find(|target| !is_there(target)) {
            let known = format!("{} (or all-linear)", names().join(", "));
            return Err(LayoutError::Target { target: target.clone(), known });
        }
        let last = model.layers - 1;
        if let Some(layer) = wanted.layers.iter().flatten().find(|layer| **layer > last) {
            return Err(LayoutError::Layer { layer: *layer, last });
        }
        let in_layers =
            |name: &str| wanted.layers.as_ref().is_none_or(|l| layer_of(name).is_some_and(|i| l.contains(&i)));
        let targeted = |name: &str| wanted.targets.is_empty() || wanted.targets.iter().any(|t| ends_with(name, t));
        let chosen = linears.iter().filter(|(name, ..)| in_layers(name) && targeted(name)).cloned();
        let targets = if wanted.targets.is_empty() { names() } else { wanted.targets.clone() };
        let config = AdapterConfig { targets, ..wanted.clone() };
        let whole = whole(&wanted.saved, model)?;
        Self::of(config, chosen.collect(), whole)
    }

    /// What an adapter that is there adds to a model.
    ///
    /// # Errors
    /// It is not of this model, or not whole.
    pub fn of_folder(folder: &AdapterFolder, model: &Config) -> Result<Self, LayoutError> {
        let other = |reason: String| LayoutError::OtherBase { folder: folder.path.display().to_string(), reason };
        let linears = linears(model);
        let known = |name: &String| linears.iter().any(|(linear, ..)| linear == name);
        if let Some(name) = folder.modules.iter().find(|name| !known(name)) {
            let names = last_names(linears.iter().map(|(name, ..)| name.as_str())).join(", ");
            return Err(other(format!(
                "it adapts `{name}`, which the model has not (layers 0 to {} with {names})",
                model.layers - 1
            )));
        }
        let config = &folder.config;
        let in_layers =
            |name: &str| config.layers.as_ref().is_none_or(|l| layer_of(name).is_some_and(|i| l.contains(&i)));
        let wanted = |name: &str| in_layers(name) && config.targets.iter().any(|t| ends_with(name, t));
        if let Some((name, ..)) = linears.iter().find(|(name, ..)| wanted(name) && !folder.modules.contains(name)) {
            return Err(other(format!("its adapter_config.json asks for `{name}`, and no tensors of it are there")));
        }
        let chosen: Vec<_> = linears.into_iter().filter(|(name, ..)| folder.modules.contains(name)).collect();
        let whole = folder.saved.iter().map(|name| of_base(name, model).ok_or_else(|| name.clone()));
        let whole = whole.collect::<Result<Vec<_>, _>>();
        let whole = whole.map_err(|name| other(format!("it holds `{name}`, which the model has not")))?;
        let mut config = config.clone();
        (config.targets, config.layers) = described(&chosen, model);
        let modules = || whole.iter().map(|w| module_of(&w.parameter.name));
        if !modules().all(|module| config.saved.iter().any(|name| ends_with(module, name))) {
            config.saved = modules().map(str::to_owned).collect();
        }
        let layout = Self::of(config, chosen, whole)?;
        folder.check(&layout.entries()).map_err(LayoutError::Tensor)?;
        Ok(layout)
    }

    fn of(config: AdapterConfig, chosen: Vec<Linear>, whole: Vec<Whole>) -> Result<Self, LayoutError> {
        let modules: Vec<Module> = chosen
            .into_iter()
            .map(|(name, inputs, parts)| {
                let (rank, scale) = config.rank_and_scale(&name);
                Module { name, inputs, parts, rank, scale: scale as f32 }
            })
            .collect();
        let both = modules.iter().find(|m| whole.iter().any(|w| module_of(&w.parameter.name) == m.name));
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
                all.push((Parameter { name, dims, init, parts }, Some(part)));
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

/// A parameter's module.
fn module_of(parameter: &str) -> &str {
    parameter.rsplit_once('.').map_or(parameter, |(module, _)| module)
}

/// `target_modules` and `layers_to_transform` that mean these modules and no others: last names where they do.
fn described(chosen: &[Linear], model: &Config) -> (Vec<String>, Option<Vec<usize>>) {
    let names = last_names(chosen.iter().map(|(name, ..)| name.as_str()));
    let layers: BTreeSet<usize> = chosen.iter().filter_map(|(name, ..)| layer_of(name)).collect();
    let is_meant = |name: &str| {
        names.iter().any(|last| ends_with(name, last)) && layer_of(name).is_some_and(|layer| layers.contains(&layer))
    };
    if linears(model).iter().filter(|(name, ..)| is_meant(name)).count() != chosen.len() {
        return (chosen.iter().map(|(name, ..)| name.clone()).collect(), None);
    }
    (names, (layers.len() < model.layers).then(|| layers.into_iter().collect()))
}

/// A parameter to be trained whole. A tied head that is trained becomes one of its own and starts as the embedding.
fn of_base(name: &str, model: &Config) -> Option<Whole> {
    let base = if name == HEAD && model.tied { EMBEDDING } else { name };
    let parameter = model.parameters().into_iter().find(|p| p.name == base)?;
    Some(Whole { parameter: Parameter { name: name.into(), ..parameter }, base: base.into() })
}

/// The parameters of modules that are to be trained whole.
fn whole(modules: &[String], model: &Config) -> Result<Vec<Whole>, LayoutError> {
    let mut names: Vec<String> = model.parameters().into_iter().map(|p| p.name).collect();
    if model.tied {
        names.push(HEAD.into());
    }
    if let Some(module) = modules.iter().find(|m| !names.iter().any(|name| ends_with(module_of(name), m))) {
        let known = last_names(names.iter().map(|name| module_of(name))).join(", ");
        return Err(LayoutError::Saved { module: module.clone(), known });
    }
    let chosen = names.iter().filter(|name| modules.iter().any(|m| ends_with(module_of(name), m)));
    Ok(chosen.filter_map(|name| of_base(name, model)).collect())
}
