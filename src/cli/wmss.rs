//! `underdog wmss`

use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::{args::WmssArgs, with_device};
use crate::{recipes, report, session::Error};

pub(super) fn run(args: &WmssArgs, json: bool, stop: &AtomicBool) -> Result<(), Error> {
    let config = args.config()?;
    let (_model, _data, out) = (config.model()?, config.data()?, config.out()?);
    with_device(config.device.as_deref(), stop, |context| recipes::wmss(context, &config))
        .map_err(|e| e.and("the same command goes on from there"))?;
    if json {
        return Ok(report::json(&json!({ "out": out }))?);
    }
    Ok(report::text(&format!("the strong model is in {}\n", out.display()))?)
}
