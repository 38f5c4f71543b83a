//! `underdog compare`

use std::sync::atomic::AtomicBool;

use super::{args::CompareArgs, with_device};
use crate::{recipes, recipes::Arm, report, session::Error};

pub(super) fn run(args: &CompareArgs, json: bool, stop: &AtomicBool) -> Result<(), Error> {
    let config = args.config()?;
    let (_model, _data, out, _held_out) = (config.model()?, config.data()?, config.out()?, config.held_out()?);
    let arms = Arm::list(&args.arms)?;
    let comparison = with_device(config.device.as_deref(), stop, |context| {
        recipes::compare(context, &config, &arms, args.seeds, args.equal)
    })
    .map_err(|e| e.and("the same command goes on from there"))?;
    if json {
        return Ok(report::json(&comparison)?);
    }
    Ok(report::text(&format!("{}\ntables are in {}\n", comparison.markdown(), out.display()))?)
}
