//! `underdog init`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::verb::{Call, Verb};
use crate::{
    recipes,
    report::{self, count},
    session::Error,
    settings::INIT,
};

pub(super) const VERB: Verb = Verb {
    about: "Make a model folder with random weights",
    help: "Example:\n  underdog init --config config.json --tokenizer DIR --seed 1 --out tiny",
    arguments: Arguments::augment_args,
    ..Verb::new(INIT, run)
};

#[derive(Args)]
struct Arguments {
    /// The model's shape, as a Hugging Face config.json
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder whose tokenizer files to copy
    #[arg(long, value_name = "DIR")]
    tokenizer: PathBuf,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let Arguments { config: file, tokenizer, out } = call.arguments()?;
    let seed = call.config.seed;
    let text = std::fs::read_to_string(&file).map_err(|e| Error::User(format!("{}: {e}", file.display())))?;
    let config = recipes::init(&text, &file, &tokenizer, seed, &out)?;
    if call.json {
        return Ok(report::json(&json!({ "out": out, "parameters": config.parameter_count(), "seed": seed }))?);
    }
    let parameters = count(config.parameter_count() as u64);
    let text = format!("{}: {parameters} parameters with random weights (seed {seed})\n", out.display());
    Ok(report::text(&text)?)
}
