//! `underdog train`

use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::{args::TrainArgs, with_device};
use crate::{recipes, report, session::Error};

pub(super) fn run(args: &TrainArgs, json: bool, stop: &AtomicBool) -> Result<(), Error> {
    let config = args.config()?;
    let (_model, _data, out) = (config.model()?, config.data()?, config.out()?);
    let trained = with_device(config.device.as_deref(), stop, |context| {
        context.profile = args.profile;
        recipes::single(context, &config)
    })
    .map_err(|e| e.and("go on with --resume"))?;
    if json {
        let loss = trained.and_then(|trained| trained.loss);
        return Ok(report::json(&json!({ "out": out, "loss": loss }))?);
    }
    Ok(report::text(&format!("the trained model is in {}\n", out.display()))?)
}
