//! What tuning found, as text that can be kept: the tuning cache of a user, and the record of a run. Where it is kept is not
//! known here.
//!
//! A text is read as a stranger's: what is damaged, of another device, driver or version, or of other shaders, is not used.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::effort::Effort;
use crate::gpu::{Choice, Gpu, Identity, KernelGroup};

/// Entries that are kept, the newest.
const MOST_ENTRIES: usize = 2000;

/// What shapes of a class take, and how that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The portable kernel's name.
    #[serde(alias = "family")]
    pub group: String,
    /// Digest of the shaders of all variants.
    pub sources: String,
    /// Which shapes.
    pub class: String,
    /// The chosen variant; `None` is the portable kernel.
    #[serde(alias = "form")]
    pub variant: Option<String>,
    /// Whether variants that round to f16 were allowed.
    #[serde(default)]
    pub half: bool,
    /// How thoroughly it was measured; `None` where nothing was.
    #[serde(default)]
    pub effort: Option<Effort>,
    /// Seconds of one dispatch, by variant; the portable kernel's name is empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seconds: BTreeMap<String, f64>,
    /// Variants that are not to be taken on this device, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, String>,
}

impl Entry {
    /// A choice that nothing was measured for.
    pub(super) fn new(group: &'static KernelGroup, class: &str, choice: Choice) -> Self {
        Self {
            group: group.kernel.name.into(),
            sources: sources(group),
            class: class.into(),
            variant: choice.map(|variant| variant.name.into()),
            half: false,
            effort: None,
            seconds: BTreeMap::new(),
            rejected: BTreeMap::new(),
        }
    }

    /// The same question, perhaps with another answer.
    fn is_about(&self, other: &Self) -> bool {
        (&self.group, &self.class, self.half) == (&other.group, &other.class, other.half)
    }

    /// What it names, if this device offers that and its shaders are still the same.
    pub(super) fn usable(&self, gpu: &Gpu, group: &'static KernelGroup) -> Option<Choice> {
        let choice = group.choice(self.variant.as_deref()).filter(|_| self.group == group.kernel.name)?;
        let allowed = choice.is_none_or(|variant| gpu.offers(variant) && (self.half || !variant.half));
        (allowed && self.sources == sources(group)).then_some(choice)
    }
}

/// Why a text is not used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// Not one of ours.
    #[error("is no file of kernel choices: {0}")]
    Damaged(String),
    /// Made elsewhere.
    #[error("was made on {adapter}, version {version}")]
    Foreign {
        /// Where.
        adapter: String,
        /// By which version of this program.
        version: String,
    },
}

/// Something found on one device by one version of this program.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    device: Identity,
    version: String,
    #[serde(flatten)]
    found: T,
}

#[derive(Serialize, Deserialize)]
struct Entries {
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Faults {
    shaders: String,
    wrong: Wrong,
}

fn parse<T: DeserializeOwned>(text: &str, gpu: &Gpu) -> Result<T, Unusable> {
    let record: Record<T> = serde_json::from_str(text).map_err(|e| Unusable::Damaged(e.to_string()))?;
    if record.device != gpu.identity() || record.version != version() {
        return Err(Unusable::Foreign { adapter: record.device.adapter, version: record.version });
    }
    Ok(record.found)
}

fn write<T: Serialize>(gpu: &Gpu, found: T) -> String {
    let record = Record { device: gpu.identity(), version: version().into(), found };
    serde_json::to_string_pretty(&record).unwrap_or_default()
}

/// Choices for one device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cache {
    entries: Vec<Entry>,
}

impl Cache {
    /// That of a text.
    ///
    /// # Errors
    /// If it cannot be used on this device.
    pub fn parse(text: &str, gpu: &Gpu) -> Result<Self, Unusable> {
        parse(text, gpu).map(|Entries { entries }| Self { entries })
    }

    /// Its text.
    pub fn text(&self, gpu: &Gpu) -> String {
        write(gpu, Entries { entries: self.entries.clone() })
    }

    /// What is chosen on a device, for a run to record.
    pub fn chosen(gpu: &Gpu) -> Self {
        let half = gpu.allows_half();
        let entry = |(group, class, choice): (_, String, _)| Entry { half, ..Entry::new(group, &class, choice) };
        Self { entries: gpu.choices().into_iter().map(entry).collect() }
    }

    /// What is in it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Replaces or adds entries.
    pub fn add(&mut self, entries: Vec<Entry>) {
        self.entries.retain(|old| !entries.iter().any(|new| new.is_about(old)));
        self.entries.extend(entries);
        self.entries.drain(..self.entries.len().saturating_sub(MOST_ENTRIES));
    }

    /// Takes every choice; `false`, and none of them, if one cannot be taken any more.
    pub fn apply(&self, gpu: &Gpu, groups: impl IntoIterator<Item = &'static KernelGroup>) -> bool {
        let groups: Vec<&'static KernelGroup> = groups.into_iter().collect();
        let found = self.entries.iter().map(|entry| {
            let group = *groups.iter().find(|group| group.kernel.name == entry.group)?;
            Some((group, entry.class.clone(), entry.usable(gpu, group)?))
        });
        let Some(found) = found.collect::<Option<Vec<_>>>() else { return false };
        found.into_iter().for_each(|(group, class, choice)| gpu.choose(group, class, choice));
        true
    }
}

/// The names of what a device gets wrong, and why.
pub type Wrong = BTreeMap<String, String>;

/// What of a text was found wrong on this device with this version and these shaders; nothing where it cannot be used.
pub fn wrong<'a>(text: &str, gpu: &Gpu, groups: impl IntoIterator<Item = &'a KernelGroup>) -> Wrong {
    let found = parse::<Faults>(text, gpu).ok().filter(|found| found.shaders == shaders(groups));
    found.map(|found| found.wrong).unwrap_or_default()
}

/// The text of what was found wrong.
pub fn wrong_text<'a>(wrong: Wrong, gpu: &Gpu, groups: impl IntoIterator<Item = &'a KernelGroup>) -> String {
    write(gpu, Faults { shaders: shaders(groups), wrong })
}

/// Names a device, its driver and this version of the program, in characters that a file name takes.
pub fn device_key(gpu: &Gpu) -> String {
    digest([serde_json::json!([gpu.identity(), version()]).to_string().as_str()])
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn shaders<'a>(groups: impl IntoIterator<Item = &'a KernelGroup>) -> String {
    let all: Vec<String> = groups.into_iter().map(sources).collect();
    digest(all.iter().map(String::as_str))
}

/// Digest of everything that decides what the variants of a group compute.
pub(super) fn sources(group: &KernelGroup) -> String {
    let variants = group.variants.iter().flat_map(|variant| {
        let constants = variant.constants.iter().map(|(name, value)| format!("{name}={value};")).collect();
        [variant.name.to_owned(), variant.kernel.name.to_owned(), constants, variant.kernel.module.source.to_owned()]
    });
    let all: Vec<String> = [group.kernel.module.source.to_owned()].into_iter().chain(variants).collect();
    digest(all.iter().map(String::as_str))
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}
