//! An adapter's folder: its tensors under PEFT's names and in PEFT's layout, whoever wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::error::{BASE_MARK, Error, io};
use super::super::files::read_if_there;
use super::super::folder::{Folder, read_config};
use super::super::source::{Stored, TensorSource, TokenizerFiles, missing};
use super::super::tensors::ReadTensors;
use super::super::tokenizer_files::read_tokenizer;
use super::config::{AdapterConfig, CONFIG, PREFIX, Part, tensor_name};
use super::fields::Fields;
use super::{mlx, peft};

/// Longest mark that is read.
const MAX_MARK_BYTES: u64 = 1 << 10;

/// An adapter whose settings and header have been checked. As a source, its tensors have PEFT's names and layout.
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
    tensors: Folder,
    entries: BTreeMap<String, Stored>,
    /// The name in the file of each tensor.
    names: BTreeMap<String, String>,
    /// Whether the file has matrices the other way round.
    transposed: bool,
    base_mark: Option<String>,
}

/// Whether a folder holds an adapter.
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

impl AdapterFolder {
    /// Opens an adapter of PEFT or mlx-lm.
    ///
    /// # Errors
    /// A file is missing or damaged, or the settings ask for something that is not supported.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = path.join(CONFIG);
        let damaged = |reason: String| Error::Damaged { path: file.clone(), reason };
        let value: Value = serde_json::from_str(&read_config(&file)?).map_err(|e| damaged(e.to_string()))?;
        let map = value.as_object().ok_or_else(|| damaged("not a JSON object".into()))?;
        let fields = Fields { map, path: &file };
        let is_mlx = !map.contains_key("peft_type");
        if is_mlx && !map.contains_key("lora_parameters") {
            let reason =
                "neither `peft_type` (PEFT) nor `lora_parameters` (mlx-lm) is there: no adapter that is known";
            return Err(damaged(reason.into()));
        }
        let (config, tensors) = match is_mlx {
            false => (peft::read(&fields)?, peft::TENSORS),
            true => (mlx::read(&fields)?, mlx::TENSORS),
        };
        let base_mark = path.join(BASE_MARK);
        let base_mark = read_if_there(&base_mark, MAX_MARK_BYTES).map_err(io(&base_mark, "read"))?;
        let mut adapter = Self {
            path: path.into(),
            config,
            modules: BTreeSet::new(),
            saved: BTreeSet::new(),
            tensors: Folder::open_file(&path.join(tensors))?,
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            transposed: is_mlx,
            base_mark: base_mark.map(|mark| String::from_utf8_lossy(&mark).trim().to_owned()),
        };
        adapter.sort_names().map_err(damaged)?;
        Ok(adapter)
    }

    /// Says of every tensor what it is.
    fn sort_names(&mut self) -> Result<(), String> {
        let parse = if self.transposed { mlx::parse } else { peft::parse };
        for (name, stored) in self.tensors.entries() {
            let Some((module, part)) = parse(name) else {
                return Err(format!("tensor `{name}` is no part of a LoRA adapter on linear modules"));
            };
            if part == Some(Part::Magnitude) && !self.config.dora {
                return Err(format!("tensor `{name}` is of DoRA, and the configuration says that this is none"));
            }
            let own = match part {
                Some(part) => tensor_name(module, part),
                None => format!("{PREFIX}{module}"),
            };
            let list = if part.is_some() { &mut self.modules } else { &mut self.saved };
            list.insert(module.to_owned());
            let mut stored = stored.clone();
            if self.transposed {
                stored.dims.reverse();
            }
            self.entries.insert(own.clone(), stored);
            self.names.insert(own, name.clone());
        }
        Ok(())
    }

    /// Checks that it was trained on a base with this mark, as far as marks can show: where it has none, or where the base
    /// was stored otherwise, nothing is known.
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
}

impl TensorSource for AdapterFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn entries(&self) -> &BTreeMap<String, Stored> {
        &self.entries
    }

    fn read(&self, name: &str, start: usize, into: &mut [u8]) -> Result<(), Error> {
        let own = self.names.get(name).ok_or_else(|| missing(self, name, 0))?;
        match self.entries.get(name).map(|stored| (stored, stored.dims.as_slice())) {
            Some((stored, &[rows, cols])) if self.transposed => {
                let mut whole = vec![0; stored.bytes()];
                self.tensors.read(own, 0, &mut whole)?;
                let size = stored.dtype.bitsize() / 8;
                for (i, element) in (start / size..).zip(into.chunks_mut(size)) {
                    let from = (i % cols * rows + i / cols) * size;
                    element.copy_from_slice(&whole[from..from + element.len()]);
                }
                Ok(())
            }
            _ => self.tensors.read(own, start, into),
        }
    }

    fn config(&self) -> Result<String, Error> {
        read_config(&self.path.join(CONFIG))
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, Error> {
        read_tokenizer(&self.path)
    }
}
