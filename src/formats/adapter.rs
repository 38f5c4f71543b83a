//! Adapters on disk: PEFT folders (`adapter_config.json`, `adapter_model.safetensors`) in and out, those of mlx-lm in.
//!
//! The tensors in the file say which modules are adapted; the settings beside them must agree. What the settings ask for
//! and is not built is refused by name. Which modules a model has is the model's business.

mod mlx;
mod peft;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Companions, Entry, Error, Folder, read_small};

/// Settings of an adapter, in PEFT's and in mlx-lm's folders.
pub(super) const CONFIG: &str = "adapter_config.json";
/// PEFT's tensors.
pub(super) const TENSORS: &str = "adapter_model.safetensors";
/// mlx-lm's tensors.
const MLX_TENSORS: &str = "adapters.safetensors";
/// The mark of the base that an adapter was trained on; not there in folders of others.
pub(super) const BASE: &str = "base.fingerprint";
/// Longest mark that is read.
const MAX_MARK_BYTES: u64 = 1 << 10;
/// What PEFT's tensor names begin with.
pub const PREFIX: &str = "base_model.model.";
/// Largest `adapter_config.json` that is read; real ones have a few KB.
const MAX_BYTES: u64 = 4 << 20;
/// Largest rank that is believed.
const MAX_RANK: usize = 1 << 12;

/// What an adapter is made of, with PEFT's names where they differ.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AdapterConfig {
    /// `r`
    pub rank: usize,
    /// `lora_alpha`
    pub alpha: f64,
    /// `lora_dropout`
    pub dropout: f64,
    /// `use_rslora`: scaled by `alpha / sqrt(rank)` instead of `alpha / rank`.
    pub rslora: bool,
    /// `use_dora`
    pub dora: bool,
    /// `target_modules`: the ends of their names; empty: every linear module of the blocks.
    pub targets: Vec<String>,
    /// `layers_to_transform`; `None`: all.
    pub layers: Option<Vec<usize>>,
    /// `rank_pattern`: ranks of modules whose names end so.
    pub ranks: Vec<(String, usize)>,
    /// `alpha_pattern`, likewise.
    pub alphas: Vec<(String, f64)>,
    /// `modules_to_save`: modules that are trained whole, by the ends of their names.
    pub saved: Vec<String>,
}

/// What an adapter's folder is made of, apart from the values.
#[derive(Debug, Clone, Copy)]
pub struct AdapterFiles<'a> {
    /// Its settings; `targets` names what is adapted.
    pub config: &'a AdapterConfig,
    /// Name or folder of the base, as PEFT notes it.
    pub base: &'a str,
    /// The mark of the base's weights: [`Folder::mark`].
    pub base_mark: &'a str,
    /// Tokenizer and chat template.
    pub companions: &'a Companions,
    /// Every tensor by PEFT's name, in the order in which it is asked for, in PEFT's layout.
    pub entries: &'a [Entry],
}

impl AdapterFiles<'_> {
    /// The contents of `adapter_config.json`.
    pub(super) fn config_json(&self) -> Value {
        peft::write(self.config, self.base)
    }
}

/// The tensors of an adapted module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `[rank, in]`
    A,
    /// `[out, rank]`
    B,
    /// `[out]`, of DoRA.
    Magnitude,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Peft,
    Mlx,
}

/// An adapter whose settings and header have been checked.
#[derive(Debug)]
pub struct AdapterFolder {
    /// Where it is.
    pub path: PathBuf,
    /// Its settings. `targets`, `layers` and `saved` are what the file asks for; what it has is in the other fields.
    pub config: AdapterConfig,
    /// Modules that have a low-rank pair, such as `model.layers.0.self_attn.q_proj`.
    pub modules: BTreeSet<String>,
    /// Parameters that are there whole, such as `lm_head.weight`.
    pub saved: BTreeSet<String>,
    format: Format,
    tensors: Folder,
    base_mark: Option<String>,
}

impl AdapterConfig {
    /// Rank and scale of a module.
    pub fn rank_and_scale(&self, module: &str) -> (usize, f64) {
        let rank = find(&self.ranks, module).unwrap_or(self.rank);
        let alpha = find(&self.alphas, module).unwrap_or(self.alpha);
        let over = if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
        (rank, alpha / over)
    }
}

/// Whether a module's name is `end` or has it behind a dot, as PEFT matches.
pub fn ends_with(module: &str, end: &str) -> bool {
    module.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn find<T: Copy>(patterns: &[(String, T)], module: &str) -> Option<T> {
    let fits = |pattern: &str| match pattern.strip_prefix('^') {
        Some(whole) => whole == module,
        None => ends_with(module, pattern),
    };
    patterns.iter().find(|(pattern, _)| fits(pattern)).map(|(_, value)| *value)
}

/// Whether a folder holds an adapter.
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

impl AdapterFolder {
    /// Opens an adapter of PEFT or mlx-lm.
    ///
    /// # Errors
    /// A file is missing or damaged, or the settings ask for something that is not built.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = path.join(CONFIG);
        let damaged = |reason: String| Error::Damaged { path: file.clone(), reason };
        let text = read_small(&file, MAX_BYTES)?;
        let value: Value = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        let map = value.as_object().ok_or_else(|| damaged("not a JSON object".into()))?;
        let fields = Fields { map, path: &file };
        let (format, config, tensors) = match map.contains_key("peft_type") {
            true => (Format::Peft, peft::read(&fields)?, TENSORS),
            false if map.contains_key("lora_parameters") => (Format::Mlx, mlx::read(&fields)?, MLX_TENSORS),
            false => {
                let reason =
                    "neither `peft_type` (PEFT) nor `lora_parameters` (mlx-lm) is there: no adapter that is known";
                return Err(damaged(reason.into()));
            }
        };
        let tensors = Folder::open_file(&path.join(tensors))?;
        let (modules, saved) = (BTreeSet::new(), BTreeSet::new());
        let base_mark = path.join(BASE);
        let base_mark = base_mark.exists().then(|| read_small(&base_mark, MAX_MARK_BYTES)).transpose()?;
        let base_mark = base_mark.map(|mark| String::from_utf8_lossy(&mark).trim().to_owned());
        let mut adapter = Self { path: path.into(), config, modules, saved, format, tensors, base_mark };
        adapter.sort_names()?;
        Ok(adapter)
    }

    /// Says of every tensor what it is.
    fn sort_names(&mut self) -> Result<(), Error> {
        let unknown = |name: &str| {
            let reason = format!("tensor `{name}` is no part of a LoRA adapter on linear modules");
            Error::Damaged { path: self.path.join(CONFIG), reason }
        };
        let (mut modules, mut saved) = (BTreeSet::new(), BTreeSet::new());
        for name in self.tensors.names() {
            let known = match self.format {
                Format::Peft => peft::parse(name),
                Format::Mlx => mlx::parse(name),
            };
            match known.ok_or_else(|| unknown(name))? {
                (_, Some(Part::Magnitude)) if !self.config.dora => {
                    let reason = format!("tensor `{name}` is of DoRA, and the configuration says that this is none");
                    return Err(Error::Damaged { path: self.path.join(CONFIG), reason });
                }
                (module, Some(_)) => modules.insert(module.to_owned()),
                (parameter, None) => saved.insert(parameter.to_owned()),
            };
        }
        (self.modules, self.saved) = (modules, saved);
        Ok(())
    }

    /// Checks that it was trained on a base with this mark, as far as marks tell: where it has none, or where the base was
    /// stored otherwise, nothing is known.
    ///
    /// # Errors
    /// [`Error::OtherBase`]
    pub fn check_base(&self, mark: &str) -> Result<(), Error> {
        let types = |mark: &str| mark.split_once(' ').map(|(types, _)| types.to_owned());
        match &self.base_mark {
            Some(own) if own != mark && types(own) == types(mark) => {
                Err(Error::OtherBase { adapter: self.path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// A digest of its tensors and what they are scaled by.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn fingerprint(&self) -> Result<String, Error> {
        let AdapterConfig { alpha, rslora, dora, alphas, .. } = &self.config;
        Ok(format!("{} {alpha} {rslora} {dora} {alphas:?}", self.tensors.fingerprint()?))
    }

    /// Checks that a module's part has the shape of PEFT's layout.
    ///
    /// # Errors
    /// It is missing, has another shape, or is of a type that cannot be read.
    pub fn check(&self, module: &str, part: Part, dims: &[usize]) -> Result<(), Error> {
        let (name, dims) = self.stored(module, part, dims);
        self.tensors.check(&[Entry { name, dims }])
    }

    /// A module's part in PEFT's layout.
    ///
    /// # Errors
    /// As [`Self::check`]; a value is not finite, the file cannot be read.
    pub fn read(&self, module: &str, part: Part, dims: &[usize]) -> Result<Vec<f32>, Error> {
        let (name, stored) = self.stored(module, part, dims);
        let values = self.tensors.read_vec(&name, &stored)?;
        // Square matrices too: their shapes do not tell.
        let turned = self.format == Format::Mlx && dims.len() == 2;
        Ok(if turned { transposed(&values, stored[1]) } else { values })
    }

    /// A tensor by its name in PEFT's files.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_named(&self, entry: &Entry) -> Result<Vec<f32>, Error> {
        match peft::parse(&entry.name) {
            Some((module, Some(part))) => self.read(module, part, &entry.dims),
            _ => self.tensors.read_vec(&entry.name, &entry.dims),
        }
    }

    /// Checks a parameter that is there whole.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_saved(&self, parameter: &str, dims: &[usize]) -> Result<(), Error> {
        self.tensors.check(&[Entry { name: format!("{PREFIX}{parameter}"), dims: dims.into() }])
    }

    /// A parameter that is there whole.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_saved(&self, parameter: &str, dims: &[usize]) -> Result<Vec<f32>, Error> {
        self.tensors.read_vec(&format!("{PREFIX}{parameter}"), dims)
    }

    /// Name and shape of a part in the file.
    fn stored(&self, module: &str, part: Part, dims: &[usize]) -> (String, Vec<usize>) {
        match self.format {
            Format::Peft => {
                let name = peft::name(module, part);
                // Some versions wrote the vector as a module of its own.
                let longer = format!("{name}.weight");
                let name =
                    if part == Part::Magnitude && self.tensors.tensor(&longer).is_some() { longer } else { name };
                (name, dims.to_vec())
            }
            Format::Mlx => (mlx::name(module, part), dims.iter().rev().copied().collect()),
        }
    }
}

/// A matrix of rows of `cols`, columns first.
fn transposed(values: &[f32], cols: usize) -> Vec<f32> {
    let rows = values.len() / cols.max(1);
    (0..values.len()).map(|i| values[i % rows * cols + i / rows]).collect()
}

/// The fields of an `adapter_config.json`.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a Path,
}

impl Fields<'_> {
    /// The value of a field that is there and not null.
    fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, value: &Value, wants: &str) -> Error {
        let reason = format!("`{name}` is {}; {wants}", shown(value));
        Error::Damaged { path: self.path.into(), reason }
    }

    fn rank(&self, name: &str, value: &Value) -> Result<usize, Error> {
        let rank = value.as_u64().and_then(|rank| usize::try_from(rank).ok());
        let wants = || self.wrong(name, value, &format!("a rank is a whole number from 1 to {MAX_RANK}"));
        rank.filter(|rank| (1..=MAX_RANK).contains(rank)).ok_or_else(wants)
    }

    fn number(&self, name: &str, value: &Value) -> Result<f64, Error> {
        let number = value.as_f64().filter(|number| number.abs() <= 1e6);
        number.ok_or_else(|| self.wrong(name, value, "it must be a number of at most a million"))
    }

    fn share(&self, name: &str, value: &Value) -> Result<f64, Error> {
        let share = value.as_f64().filter(|share| (0.0..1.0).contains(share));
        share.ok_or_else(|| self.wrong(name, value, "it must be 0 or more and below 1"))
    }

    fn flag(&self, name: &str) -> Result<bool, Error> {
        let Some(value) = self.get(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.wrong(name, value, "it must be true or false"))
    }

    /// One text or several.
    fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let text = |value: &Value| {
            let wants = || self.wrong(name, value, "it must be a name or a list of names");
            value.as_str().map(str::to_owned).ok_or_else(wants)
        };
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(text).collect(),
            Some(value) => Ok(vec![text(value)?]),
        }
    }
}

/// The beginning of a value from a file.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
