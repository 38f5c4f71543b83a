//! A run's folder: who may write into it.

use std::fs;

use super::Error;
use crate::{checkpoint, config::Config};

const SETTINGS: &str = "config.toml";
/// Settings that may change between a run and its resumption: none of them touches the result.
const FREE: &[&str] = &["device", "memory", "recompute", "tokens_per_pass", "save_every", "keep", "resume", "out"];

/// Makes `config.out` the folder of this run and writes the settings into it, or finds that this very run stands there.
/// `goes_on`: whether a run that stands there may go on.
///
/// # Errors
/// If another run or a model is there already; nothing is touched then.
pub fn claim(config: &Config, goes_on: bool) -> Result<(), Error> {
    let out = config.out()?;
    let path = out.join(SETTINGS);
    let failed = |e: std::io::Error| Error::User(format!("{}: {e}", path.display()));
    if path.exists() {
        let was = fs::read_to_string(&path).map_err(failed)?;
        if let Some(key) = difference(&was, &config.to_toml()?) {
            return Err(Error::User(format!(
                "{} already holds another run (its `{key}` differs); nothing was touched. Choose another --out",
                out.display()
            )));
        }
        if !goes_on {
            return Err(Error::User(format!(
                "{} already holds this run; go on with --resume, or choose another --out",
                out.display()
            )));
        }
        return Ok(());
    }
    checkpoint::check_vacant(out)?;
    if out.join("metrics.jsonl").exists() || checkpoint::latest(out).is_ok_and(|latest| latest.found.is_some()) {
        let out = out.display();
        return Err(Error::User(format!("{out} already holds a run without its {SETTINGS}; choose another --out")));
    }
    fs::create_dir_all(out).map_err(failed)?;
    fs::write(&path, config.to_toml()?).map_err(failed)
}

/// The first setting in which two files differ, but for those that do not matter.
fn difference(was: &str, is: &str) -> Option<String> {
    let read = |text: &str| text.parse::<toml::Table>().ok();
    let (Some(was), Some(is)) = (read(was), read(is)) else {
        return Some(SETTINGS.into());
    };
    let keys = was.keys().chain(is.keys());
    keys.filter(|key| !FREE.contains(&key.as_str())).find(|key| was.get(*key) != is.get(*key)).cloned()
}
