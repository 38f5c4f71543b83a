//! `underdog data`

use std::sync::atomic::Ordering;

use clap::Args;
use serde_json::json;

use super::verb::{Call, Verb};
use crate::{
    data::{Dataset, preview},
    report::{self, Console, Report, Table, count},
    session::{self, Error},
    settings::DATA,
};

pub(super) const VERB: Verb = Verb {
    about: "Show what a model will see of a data file: counts, lengths, trained and untrained tokens",
    needs: &["model", "data"],
    arguments: Arguments::augment_args,
    ..Verb::new(DATA, run)
};

#[derive(Args)]
struct Arguments {
    /// Examples to preview; --json gives them all
    #[arg(long, value_name = "N", default_value_t = 3)]
    preview: usize,
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let Arguments { preview: previewed } = call.arguments()?;
    let config = &call.config;
    let shape = crate::model::Config::open(config.model()?)?;
    let tokenizer = crate::data::tokenizer::Tokenizer::open(config.model()?)?;
    let mut report = Report::new(Console::stderr());
    let dataset = session::dataset(&mut report, config, &tokenizer, shape.vocab)?;
    if call.json {
        for example in &dataset.examples {
            if call.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted(String::new()));
            }
            let mask: Vec<u8> = example.trained.iter().map(|t| u8::from(*t)).collect();
            report::json(&json!({ "idx": example.idx, "ids": example.ids, "mask": mask }))?;
        }
        return Ok(());
    }
    report::text(&counts(&dataset, &config.data()?.display().to_string()))?;
    for example in dataset.examples.iter().take(previewed) {
        let (idx, tokens, targets) = (example.idx, example.ids.len(), example.targets());
        report::text(&format!("\nidx {idx}, line {}: {tokens} tokens, {targets} trained\n", example.line))?;
        let pieces = preview::pieces(&tokenizer, example)?;
        report::preview(&pieces.into_iter().map(|piece| (piece.text, piece.trained)).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn counts(dataset: &Dataset, file: &str) -> String {
    let counts = dataset.counts;
    let mut lengths: Vec<usize> = dataset.examples.iter().map(|example| example.ids.len()).collect();
    lengths.sort_unstable();
    let quantile = |share: f64| lengths[((lengths.len() - 1) as f64 * share).round() as usize] as u64;
    let mut table = Table::new([file, ""]);
    for (name, value) in [
        ("rows", counts.rows as u64),
        ("examples", counts.kept as u64),
        ("cut to max_length", counts.truncated as u64),
        ("left out: too long", counts.dropped as u64),
        ("left out: nothing trained", counts.empty as u64),
        ("tokens", counts.tokens as u64),
        ("trained tokens", counts.targets as u64),
        ("median length", quantile(0.5)),
        ("95th percentile", quantile(0.95)),
        ("longest row", counts.longest as u64),
    ] {
        table.row([name.to_owned(), count(value)]);
    }
    table.render()
}
