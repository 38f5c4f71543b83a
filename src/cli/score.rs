//! `underdog score`

use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::{args::ScoreArgs, check_new_file, with_device};
use crate::{
    data::curriculum::{self, EntropyRow},
    infer::score,
    report::{self, count},
    session::{self, Error, Source},
    settings::Config,
};

pub(super) fn run(args: &ScoreArgs, json: bool, stop: &AtomicBool) -> Result<(), Error> {
    let base = args.input.config(Some(&args.device))?;
    let quantize = args.quantize.unwrap_or(base.quantize);
    let config = Config { adapter: args.adapter.clone(), quantize, ..base };
    check_new_file(&args.out)?;
    let scored = with_device(config.device.as_deref(), stop, |context| {
        let source = Source::of(&config)?;
        let dataset = session::dataset(context.report, &config, &source.tokenizer, source.config.vocab)?;
        session::score(context, &config, "score", &source, &dataset.examples)
    })?;
    let loss = score::mean_loss(&scored);
    let rows: Vec<EntropyRow> = scored.into_iter().map(|s| s.row).collect();
    curriculum::write_entropies(&args.out, &rows)?;
    if json {
        return Ok(report::json(&json!({ "out": args.out, "samples": rows.len(), "loss": loss }))?);
    }
    let (out, samples) = (args.out.display(), count(rows.len() as u64));
    Ok(report::text(&format!("{out}: {samples} samples, loss {loss:.6}\n"))?)
}
