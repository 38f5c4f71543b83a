//! `underdog merge`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::verb::{Call, Verb};
use crate::{recipes, report, session::Error, settings::MERGE};

pub(super) const VERB: Verb = Verb {
    about: "Write a model folder of a model and an adapter on it",
    help: "The sums are made in f32. Example:\n  underdog merge --model Qwen3-0.6B --adapter run --out merged",
    needs: &["model", "adapter"],
    arguments: Arguments::augment_args,
    ..Verb::new(MERGE, run)
};

#[derive(Args)]
struct Arguments {
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let Arguments { out } = call.arguments()?;
    let adapter = call.config.adapter.as_deref().unwrap_or("".as_ref());
    recipes::merge(call.config.model()?, adapter, &out, call.config.dtype)?;
    if call.json {
        return Ok(report::json(&json!({ "out": out }))?);
    }
    Ok(report::text(&format!("the merged model is in {}\n", out.display()))?)
}
