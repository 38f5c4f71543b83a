//! What was found wrong on a device, kept beside the tuner's choices: names and reasons, for runs to heed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    super::{Family, Gpu, Identity},
    book::{self, digest, version},
};

/// The names of what a device gets wrong, and why.
pub type Wrong = BTreeMap<String, String>;

#[derive(Serialize, Deserialize)]
struct Page {
    device: Identity,
    version: String,
    shaders: String,
    wrong: Wrong,
}

fn key<'a>(gpu: &Gpu, families: impl IntoIterator<Item = &'a Family>) -> (Identity, String) {
    let sources: Vec<String> = families.into_iter().map(book::sources).collect();
    (gpu.identity(), digest(sources.iter().map(String::as_str)))
}

fn file(folder: &Path, device: &Identity) -> PathBuf {
    let key = serde_json::json!([device, version()]).to_string();
    folder.join(format!("doctor-{}.json", digest([key.as_str()])))
}

/// What was found wrong on this device with this version and these shaders; nothing where nothing was looked for, or where
/// the file cannot be used.
pub fn wrong<'a>(folder: &Path, gpu: &Gpu, families: impl IntoIterator<Item = &'a Family>) -> Wrong {
    let (device, shaders) = key(gpu, families);
    let text = book::text(&file(folder, &device));
    let page = text.and_then(|text| serde_json::from_str::<Page>(&text).ok());
    let same = |page: &Page| page.device == device && page.version == version() && page.shaders == shaders;
    page.filter(same).map(|page| page.wrong).unwrap_or_default()
}

/// Keeps what was found.
///
/// # Errors
/// If the file cannot be written.
pub fn keep<'a>(
    folder: &Path,
    gpu: &Gpu,
    families: impl IntoIterator<Item = &'a Family>,
    wrong: Wrong,
) -> Result<(), book::Error> {
    let (device, shaders) = key(gpu, families);
    let path = file(folder, &device);
    let page = Page { device, version: version().into(), shaders, wrong };
    let text = serde_json::to_string_pretty(&page).unwrap_or_default();
    book::write(&path, &text).map_err(|source| book::Error::Io { path, source })
}
