//! `underdog wmss`

use serde_json::json;

use super::{
    verb::{Call, Verb},
    with_device,
};
use crate::{recipes, report, session::Error, settings::WMSS};

pub(super) const VERB: Verb = Verb {
    about: "Run all phases of weak-driven learning, and write the strong model",
    help: "\
Phases: fine-tune the model, score it before and after, weigh the samples, train jointly with the model from before as \
the weak one. A phase already finished in --out is kept.

Examples:
  underdog wmss --model Qwen3-0.6B --data train.jsonl --out run
  underdog wmss run.toml --rounds 2 --freeze-weak",
    ..Verb::new(WMSS, run)
};

fn run(call: &Call<'_>) -> Result<(), Error> {
    let config = &call.config;
    let (_model, _data, out) = (config.model()?, config.data()?, config.out()?);
    with_device(call, |context| recipes::wmss(context, config))
        .map_err(|e| e.and("the same command goes on from there"))?;
    if call.json {
        return Ok(report::json(&json!({ "out": out }))?);
    }
    Ok(report::text(&format!("the strong model is in {}\n", out.display()))?)
}
