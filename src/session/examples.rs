//! The examples of a run, and the order in which it trains on them.

use std::{collections::HashMap, path::Path};

use super::error::Error;
use crate::{
    data::{
        self, Dataset, Example,
        curriculum::{self, CurriculumRow},
        sampler::{self, Epochs, Order},
        template::Moment,
        tokenizer::Tokenizer,
    },
    report::{Event, Report, WarningCode},
    settings::Config,
};

/// Reads the data of a run for a model of `vocab` tokens, and reports what became of its rows.
///
/// # Errors
/// Names the line and what is wrong with it; also if nothing is left.
pub fn dataset(report: &mut Report, config: &Config, tokenizer: &Tokenizer, vocab: usize) -> Result<Dataset, Error> {
    let path = config.data()?;
    let Config { max_length, overlength, .. } = *config;
    let options = data::Options { max_length, overlength, vocab: Some(vocab), now: Moment::now() };
    let mut dataset = data::load(path, tokenizer, &options)?;
    dataset.examples.truncate(config.max_samples.unwrap_or(usize::MAX));
    let counts = dataset.counts;
    for (count, what) in [
        (counts.truncated, "cut to max_length"),
        (counts.dropped, "left out: longer than max_length"),
        (counts.empty, "left out: nothing of them is trained"),
    ] {
        if count > 0 {
            let text = format!("{}: {count} of {} rows {what}", path.display(), counts.rows);
            report.event(&Event::Warning { code: WarningCode::Data, text: &text })?;
        }
    }
    if dataset.examples.is_empty() {
        return Err(Error::User(format!("{}: none of its {} rows can be trained on", path.display(), counts.rows)));
    }
    Ok(dataset)
}

/// What an epoch goes through: every example, or `multiplier` times as many drawn by a curriculum's weights.
///
/// # Errors
/// If an example has no weight, or the weights cannot be drawn by.
pub fn choose_order(config: &Config, examples: &[Example], rows: Option<&[CurriculumRow]>) -> Result<Order, Error> {
    let Some(rows) = rows else {
        return Ok(Order::All(examples.len()));
    };
    let by_idx: HashMap<u64, f64> = rows.iter().map(|row| (row.idx, row.weight)).collect();
    let weight = |example: &Example| {
        by_idx.get(&example.idx).copied().ok_or_else(|| {
            let from = config.weights.as_ref().map_or("the curriculum".into(), |file| file.display().to_string());
            let data = config.data.as_deref().unwrap_or(Path::new("the data")).display();
            Error::User(format!(
                "{from} has no weight for sample idx {} ({data}, line {}); make it from scores of this data file",
                example.idx, example.line
            ))
        })
    };
    let weights = examples.iter().map(weight).collect::<Result<Vec<f64>, _>>()?;
    let count = (config.curriculum.multiplier * examples.len() as f64).round().max(1.0) as usize;
    Ok(Order::Drawn(sampler::draw(&weights, count, config.seed)?))
}

/// As [`choose_order`], by the curriculum file of the settings, if there is one.
///
/// # Errors
/// As [`choose_order`]; if the file cannot be read.
pub fn order(config: &Config, examples: &[Example]) -> Result<Order, Error> {
    let rows = config.weights.as_deref().map(curriculum::read_curriculum).transpose()?;
    choose_order(config, examples, rows.as_deref())
}

/// The optimizer steps of a phase as lists of indices into examples, and how many there are.
///
/// # Errors
/// If there is nothing to train on.
pub fn epochs(config: &Config, order: Order) -> Result<(Epochs, u64), Error> {
    let epochs = Epochs::new(order, config.batch_size, config.seed, config.shuffle)?;
    let all = config.epochs.saturating_mul(epochs.per_epoch() as u64);
    let steps = config.max_steps.map_or(all, |most| most.min(all));
    Ok((epochs, steps))
}
