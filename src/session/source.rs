//! A model folder, opened and checked, and the adapter that changes it.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::error::Error;
use crate::{
    data::tokenizer::Tokenizer,
    formats::{
        self, AdapterConfig, AdapterFiles, AdapterFolder, Contents, Dtype, Entry, Folder, ModelFiles, ReadTensors,
        TensorSource, TokenizerFiles, is_adapter,
    },
    model::{Config, Layout},
    settings,
    train::engine,
};

/// The name of the model without its adapter, where another is asked for.
pub(super) const BASE: &str = "base";

/// A Hugging Face model folder whose files go together.
pub struct Base {
    /// Where it is.
    pub path: PathBuf,
    /// Its shape.
    pub config: Config,
    /// Its weights.
    pub weights: Arc<dyn TensorSource>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// The text of its `config.json`.
    pub(super) config_json: String,
    tokenizer_files: TokenizerFiles,
    /// Tells its weights from others.
    mark: String,
}

/// What changes a model.
pub struct Tuned {
    /// What it adds.
    pub layout: Layout,
    /// Its values; `None`: those that a fresh one starts with.
    pub folder: Option<AdapterFolder>,
}

impl Tuned {
    /// Checks that it was trained on a base of this mark, as far as that is known.
    ///
    /// # Errors
    /// If it was not.
    pub fn check_base(&self, mark: &str) -> Result<(), Error> {
        Ok(self.folder.as_ref().map_or(Ok(()), |folder| folder.check_base(mark))?)
    }
}

/// A model, and the adapter that changes it. Sources of one base are loaded as one copy of it.
pub struct Source {
    base: Arc<Base>,
    /// What changes it.
    pub adapter: Option<Tuned>,
}

impl Deref for Source {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
    }
}

impl Source {
    /// Opens a folder and checks that every tensor the model needs is there in the right shape.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if is_adapter_alone(path) {
            return Err(Error::User(format!(
                "{} holds an adapter, not a model; give its base as the model and this folder as the adapter",
                path.display()
            )));
        }
        let (config, weights) = shape(path)?;
        let weights = weights?;
        let tokenizer = Tokenizer::open(path)?;
        let (config_json, tokenizer_files) = (weights.config()?, weights.tokenizer()?);
        let mark = weights.mark(&config.entries())?;
        let weights = Arc::new(weights);
        let base = Base { path: path.into(), config, weights, tokenizer, config_json, tokenizer_files, mark };
        Ok(Self { base: Arc::new(base), adapter: None })
    }

    /// The model of a run's settings, with the adapter that it goes on from or the new one that it trains.
    ///
    /// # Errors
    /// As [`Self::open`]; an adapter that is not of this model.
    pub fn of(config: &settings::Config) -> Result<Self, Error> {
        let bare = Self::open(config.model()?)?;
        let adapter = tuned(config, &bare.config)?;
        adapter.iter().try_for_each(|tuned| tuned.check_base(&bare.mark))?;
        Ok(Self { adapter, ..bare })
    }

    /// The same model without an adapter.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { base: self.base.clone(), adapter: None }
    }

    /// The same model with the adapter of a folder.
    ///
    /// # Errors
    /// If it is not of this model or damaged.
    pub fn with(&self, folder: &Path) -> Result<Self, Error> {
        let tuned = open_adapter(folder, &self.config)?;
        tuned.check_base(&self.mark)?;
        Ok(Self { base: self.base.clone(), adapter: Some(tuned) })
    }

    /// The model as it is before anything is trained: a fresh adapter changes nothing and is left away.
    ///
    /// # Errors
    /// As [`Self::with`].
    pub fn untrained(&self) -> Result<Self, Error> {
        self.adapter_folder().map_or_else(|| Ok(self.bare()), |folder| self.with(&folder.path))
    }

    /// What stands in a folder: an adapter on this model, or a model of its own. `base` is this model without its adapter.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::with`].
    pub fn beside(&self, folder: &Path) -> Result<Self, Error> {
        match &self.adapter {
            Some(_) if folder == Path::new(BASE) => Ok(self.bare()),
            None if folder == Path::new(BASE) => Err(Error::User(
                "weak = base is the model without its adapter, and this run trains no adapter; give --lora-rank or \
                 --adapter, or the folder of a weak model"
                    .into(),
            )),
            _ if is_adapter_alone(folder) => self.with(folder),
            _ => Self::open(folder),
        }
    }

    /// Whether both are views of one copy of weights, when `self` is trained or measured.
    pub fn shares_base(&self, other: &Self) -> bool {
        self.adapter.is_some() && Arc::ptr_eq(&self.base, &other.base)
    }

    /// The values of the adapter, where they are in a folder.
    pub fn adapter_folder(&self) -> Option<&AdapterFolder> {
        self.adapter.as_ref()?.folder.as_ref()
    }

    /// What of the adapter is declared.
    pub fn layout(&self) -> Option<Layout> {
        self.adapter.as_ref().map(|tuned| tuned.layout.clone())
    }

    /// A digest that tells one training of a model from another.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn fingerprint(&self) -> Result<String, Error> {
        let base = self.weights.fingerprint()?;
        Ok(match &self.adapter {
            None => base,
            Some(Tuned { layout, folder: None }) => format!("{base} {:?}", layout.config),
            Some(Tuned { folder: Some(folder), .. }) => format!("{base} {}", folder.fingerprint()?),
        })
    }

    /// What a folder of the trained model or adapter holds beside weights.
    pub fn files(&self, dtype: settings::Dtype) -> Files {
        Files {
            config_json: self.config_json.clone(),
            architecture: self.config.family.architecture.into(),
            tokenizer: self.tokenizer_files.clone(),
            dtype: match dtype {
                settings::Dtype::F32 => Dtype::F32,
                settings::Dtype::Bf16 => Dtype::Bf16,
                settings::Dtype::Auto => self.stored_dtype(),
            },
            adapter: self
                .adapter
                .as_ref()
                .map(|tuned| (tuned.layout.config.clone(), self.path.display().to_string(), self.mark.clone())),
        }
    }

    fn stored_dtype(&self) -> Dtype {
        if holds(self.weights.as_ref(), &self.config, safetensors::Dtype::F32) { Dtype::F32 } else { Dtype::Bf16 }
    }
}

/// The files of what a phase leaves.
#[derive(Clone, Debug)]
pub struct Files {
    /// Text of the model's `config.json`.
    pub config_json: String,
    /// Class name in it.
    pub architecture: String,
    /// Tokenizer and so on.
    pub tokenizer: TokenizerFiles,
    /// Number format of a model's final weights.
    pub dtype: Dtype,
    /// Settings of an adapter, and name and mark of its base, where that is what is left.
    pub adapter: Option<(AdapterConfig, String, String)>,
}

impl Files {
    /// As they are written.
    pub fn contents<'a>(&'a self, entries: &'a [Entry]) -> Contents<'a> {
        let Self { config_json, architecture, tokenizer, adapter, .. } = self;
        match adapter {
            None => Contents::Model(ModelFiles { config_json, architecture, tokenizer, entries }),
            Some((config, base, base_mark)) => {
                Contents::Adapter(AdapterFiles { config, base, base_mark, tokenizer, entries })
            }
        }
    }
}

/// Whether a folder holds an adapter and no model.
pub(super) fn is_adapter_alone(folder: &Path) -> bool {
    is_adapter(folder) && !folder.join("config.json").exists()
}

/// The shape of the model in a folder, stored as its weights are where they are there.
///
/// # Errors
/// If `config.json` or the weights cannot be read, or the weights are not of this shape.
pub fn shape(path: &Path) -> Result<(Config, Result<Folder, formats::Error>), Error> {
    let mut config = Config::open(path)?;
    let weights = Folder::open(path);
    match &weights {
        Ok(weights) => {
            weights.check(&config.entries())?;
            config.hold_as_stored(weights).map_err(engine::Error::from)?;
        }
        Err(formats::Error::NoWeights { .. }) => {}
        Err(_) => return Err(weights.err().map_or_else(|| Error::User(String::new()), Error::from)),
    }
    Ok((config, weights))
}

/// Whether all of a model's parameters are stored like this.
fn holds(weights: &dyn TensorSource, config: &Config, dtype: safetensors::Dtype) -> bool {
    let alike = |entry: &Entry| weights.tensor(&entry.name).is_some_and(|(_, stored)| stored.dtype == dtype);
    config.entries().iter().all(alike)
}

/// What settings say of an adapter on a model of this shape.
///
/// # Errors
/// If the adapter is not of this model, or asks for what it has not.
pub(crate) fn tuned(config: &settings::Config, model: &Config) -> Result<Option<Tuned>, Error> {
    if let Some(folder) = &config.adapter {
        let mut tuned = open_adapter(folder, model)?;
        tuned.layout.config.dropout = config.lora_dropout.unwrap_or(tuned.layout.config.dropout);
        return Ok(Some(tuned));
    }
    let Some(rank) = config.lora_rank else { return Ok(None) };
    let targets = names(&config.target_modules);
    let wanted = AdapterConfig {
        rank,
        alpha: config.lora_alpha(rank),
        dropout: config.lora_dropout.unwrap_or(0.0),
        rslora: config.rslora,
        dora: config.dora,
        targets: if targets.iter().any(|name| name == "all-linear") { Vec::new() } else { targets },
        layers: config.train_layers.as_deref().map(|text| layers(text, model.layers.len())).transpose()?,
        ranks: Vec::new(),
        alphas: Vec::new(),
        saved: names(&config.modules_to_save),
    };
    let layout = Layout::resolve(&wanted, model).map_err(|error| Error::User(error.to_string()))?;
    Ok(Some(Tuned { layout, folder: None }))
}

/// Opens an adapter on a model of this shape.
///
/// # Errors
/// If it is damaged or not of this model.
pub(super) fn open_adapter(folder: &Path, model: &Config) -> Result<Tuned, Error> {
    let opened = AdapterFolder::open(folder)?;
    let layout = Layout::of_folder(&opened, model).map_err(|error| Error::User(error.to_string()))?;
    Ok(Tuned { layout, folder: Some(opened) })
}

/// Names, each alone or several with commas between them.
fn names(given: &[String]) -> Vec<String> {
    let parts = given.iter().flat_map(|text| text.split(','));
    parts.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Layers as in `0-3,8` or `last:8`.
fn layers(text: &str, count: usize) -> Result<Vec<usize>, Error> {
    let wrong = || {
        let last = count - 1;
        Error::User(format!(
            "train_layers = {text}: give layers as in 0-3,{last}, or the last ones as in last:4; there are 0 to {last}"
        ))
    };
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|layer| *layer < count);
    if let Some(last) = text.strip_prefix("last:") {
        let last = last.trim().parse().ok().filter(|last| (1..=count).contains(last));
        return last.map(|last| (count - last..count).collect()).ok_or_else(wrong);
    }
    let mut layers = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = number(from).zip(number(to)).filter(|(from, to)| from <= to).ok_or_else(wrong)?;
        layers.extend(from..=to);
    }
    layers.sort_unstable();
    layers.dedup();
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::layers;

    #[test]
    fn layers_are_read() {
        let read = |text| layers(text, 12).map_err(|error| error.to_string());
        assert_eq!(read("0-2, 11"), Ok(vec![0, 1, 2, 11]));
        assert_eq!(read("last:3"), Ok(vec![9, 10, 11]));
        assert_eq!(read("4,3,4"), Ok(vec![3, 4]));
        for wrong in ["12", "", "3-1", "last:13", "last:0", "all", "-1"] {
            let error = read(wrong).expect_err(wrong);
            assert!(error.contains("there are 0 to 11"), "{error}");
        }
    }
}
