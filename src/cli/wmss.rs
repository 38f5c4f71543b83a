//! `underdog wmss`

use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::{args::WmssArgs, with_device};
use crate::{report, run, run::Error};

pub(super) fn run(args: &WmssArgs, json: bool, stop: &AtomicBool) -> Result<(), Error> {
    let config = args.config()?;
    with_device(config.device.as_deref(), stop, |context| run::wmss(context, &config))?;
    let out = config.out()?;
    if json {
        return Ok(report::json(&json!({ "out": out }))?);
    }
    Ok(report::text(&format!("the strong model is in {}\n", out.display()))?)
}
