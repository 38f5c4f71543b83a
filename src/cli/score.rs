//! `underdog score`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    check_new_file,
    verb::{Call, Verb},
    with_device,
};
use crate::{
    data::curriculum::{self, EntropyRow},
    infer::score,
    report::{self, count},
    session::{self, Error, Source},
    settings::SCORE,
};

pub(super) const VERB: Verb = Verb {
    about: "Write the predictive entropy and the loss of every sample under a model",
    help: "Writes a JSONL row per sample: idx, entropy, loss (nats per completion token), tokens.",
    needs: &["model", "data"],
    arguments: Arguments::augment_args,
    ..Verb::new(SCORE, run)
};

#[derive(Args)]
struct Arguments {
    /// JSONL file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let Arguments { out } = call.arguments()?;
    check_new_file(&out)?;
    let config = &call.config;
    let scored = with_device(call, |context| {
        let source = Source::of(config)?;
        let dataset = session::dataset(context.report, config, &source.tokenizer, source.config.vocab)?;
        session::score(context, config, "score", &source, &dataset.examples)
    })?;
    let loss = score::mean_loss(&scored);
    let rows: Vec<EntropyRow> = scored.into_iter().map(|s| s.row).collect();
    curriculum::write_entropies(&out, &rows)?;
    if call.json {
        return Ok(report::json(&json!({ "out": out, "samples": rows.len(), "loss": loss }))?);
    }
    let (out, samples) = (out.display(), count(rows.len() as u64));
    Ok(report::text(&format!("{out}: {samples} samples, loss {loss:.6}\n"))?)
}
