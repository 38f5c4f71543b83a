//! `underdog init`

use serde_json::json;

use super::args::InitArgs;
use crate::{
    recipes,
    report::{self, count},
    session::Error,
};

pub(super) fn run(args: &InitArgs, json: bool) -> Result<(), Error> {
    let (file, out) = (&args.config, &args.out);
    let text = std::fs::read_to_string(file).map_err(|e| Error::User(format!("{}: {e}", file.display())))?;
    let config = recipes::init(&text, file, &args.tokenizer, args.seed, out)?;
    if json {
        return Ok(report::json(&json!({ "out": out, "parameters": config.parameter_count(), "seed": args.seed }))?);
    }
    let parameters = count(config.parameter_count() as u64);
    let text = format!("{}: {parameters} parameters with random weights (seed {})\n", out.display(), args.seed);
    Ok(report::text(&text)?)
}
