//! `weak = "auto"`: which of several earlier checkpoints to learn with, by what each does on samples that are not trained on.

use std::sync::Arc;

use super::{context::Context, error::Error, examples::dataset, measure, source::Source};
use crate::{
    data::curriculum::{self, Candidate},
    infer::score,
    objective::Mix,
    report::{Event, Table},
    settings::{Config, Method},
};

/// Samples of the held-out file that are looked at.
const SLICE: usize = 64;

/// Measures every candidate beside the main model and chooses by [`curriculum::choose_weak`].
///
/// # Errors
/// If there is no held-out file, a model does not fit the main one, or no candidate is weaker than it.
pub(super) fn weak(context: &mut Context<'_>, config: &Config, main: &Source) -> Result<Source, Error> {
    let held_out_file = config.held_out()?;
    let mut sources = config.candidate.iter().map(|folder| main.beside(folder)).collect::<Result<Vec<_>, _>>()?;
    let held_out = Config { data: Some(held_out_file.into()), method: Method::Sft, ..config.clone() };
    let dataset = dataset(context.report, &held_out, &main.tokenizer, main.config.vocab)?;
    let examples = &dataset.examples[..dataset.examples.len().min(SLICE)];
    let scored = measure::score(context, config, "strong model on held-out samples", main, examples)?;
    let strong_loss = score::mean_loss(&scored);
    let mut candidates = Vec::new();
    for source in &sources {
        let folder = source.adapter_folder().map_or(&*source.path, |adapter| &*adapter.path);
        let name = folder.display().to_string();
        let alone = measure::score(context, config, &name, source, examples)?;
        let loss = score::mean_loss(&alone);
        let entropy = alone.iter().map(|s| s.row.entropy).sum::<f64>() / alone.len() as f64;
        let mix = Arc::new(Mix::fixed(1, false, config.lambda));
        let means = measure::measure(context, config, &format!("{name}, mixed"), main, mix, source, examples)?;
        candidates.push(Candidate { name, loss, entropy, amplification: means.amplification(config.lambda) });
    }
    let chosen = curriculum::choose_weak(&candidates, strong_loss)?;
    let mut table = Table::new(["candidate", "loss", "entropy", "amplification", ""]);
    for (i, Candidate { name, loss, entropy, amplification }) in candidates.iter().enumerate() {
        let [loss, entropy, amplification] = [loss, entropy, amplification].map(|x| format!("{x:.4}"));
        let mark = if i == chosen { "chosen" } else { "" };
        table.row([name.clone(), loss, entropy, amplification, mark.into()]);
    }
    let text = format!(
        "weak model: of the checkpoints with a loss above the strong model's {strong_loss:.4} on {} held-out samples, the one \
         that amplifies gradients most\n{}",
        examples.len(),
        table.render()
    );
    context.report.event(&Event::Note(text.trim_end()))?;
    Ok(sources.swap_remove(chosen))
}
