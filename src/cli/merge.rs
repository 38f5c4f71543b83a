//! `underdog merge`

use serde_json::json;

use super::args::MergeArgs;
use crate::{recipes, report, session::Error};

pub(super) fn run(args: &MergeArgs, json: bool) -> Result<(), Error> {
    let MergeArgs { model, adapter, out, dtype } = args;
    recipes::merge(model, adapter, out, *dtype)?;
    if json {
        return Ok(report::json(&json!({ "out": out }))?);
    }
    Ok(report::text(&format!("the merged model is in {}\n", out.display()))?)
}
