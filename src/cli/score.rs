//! `underdog score`

use std::sync::atomic::AtomicBool;

use super::{args::ScoreArgs, with_device};
use crate::{
    curriculum::{self, EntropyRow},
    report::{self, count},
    run::{self, Error, Source},
};

pub(super) fn run(args: &ScoreArgs, stop: &AtomicBool) -> Result<(), Error> {
    let config = args.input.config(Some(&args.device))?;
    if args.out.exists() {
        return Err(Error::User(format!("{} is already there; nothing was overwritten", args.out.display())));
    }
    let rows = with_device(config.device.as_deref(), stop, |context| {
        let source = Source::open(config.model()?)?;
        let dataset = run::dataset(context.report, &config, &source.tokenizer, source.config.vocab)?;
        let scored = run::score(context, &config, "score", &source, &dataset.examples)?;
        Ok(scored.into_iter().map(|s| s.row).collect::<Vec<EntropyRow>>())
    })?;
    curriculum::write_entropies(&args.out, &rows)?;
    Ok(report::text(&format!("{}: {} samples\n", args.out.display(), count(rows.len() as u64)))?)
}
