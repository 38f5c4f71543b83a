//! All phases of weak-driven learning (WMSS, arXiv 2602.08222):
//!
//! ```text
//! M0 -> SFT -> M1 -> entropies of M0 and M1 -> curriculum -> joint training of (M1, M0) on drawn samples -> strong model
//! ```
//!
//! A further round takes the new strong model as M1 and the previous M1 as the weak one. Each phase has a folder of its own
//! under the run's; one that is finished is kept, one that was interrupted goes on.

use std::path::{Path, PathBuf};

use crate::session::{
    Context, Error, Models, Source, arrange,
    folder::{self, Standing, is_model},
    models::same_tokens,
    phase,
};
use crate::{
    data::{
        Example,
        curriculum::{self, Brownboost, CurriculumRow, EntropyRow, Rule},
        sampler::Order,
    },
    formats::{self, ReadTensors, SHARD_BYTES},
    objective,
    report::{Event, count},
    settings::{self, Config, CurriculumRule, Method},
};

/// Runs what is not finished yet; the strong model then stands in `config.out` itself.
///
/// # Errors
/// Whatever stops a phase; those before it stay.
pub fn wmss(context: &mut Context<'_>, config: &Config) -> Result<(), Error> {
    let out = config.out()?;
    let start = Source::of(config)?;
    let dataset = phase::dataset(context.report, config, &start.tokenizer, start.config.vocab)?;
    let examples = &dataset.examples;
    if folder::standing(config, true)? == Standing::Finished {
        return Ok(context.report.event(&Event::Note("every phase is finished already"))?);
    }
    // Before anything is trained, a fresh adapter changes nothing: then the weak model is the base itself.
    let first_weak = config.weak.first().map_or_else(|| start.untrained(), |folder| start.beside(folder))?;
    same_tokens(&first_weak, &start)?;
    arrange::check_fits(context, config, &start.config, examples)?;
    folder::claim(config, true)?;
    folder::same_inputs(out, examples, &start)?;

    let sft = out.join("1-sft");
    let plain = Models::open(context, &Config { method: Method::Sft, ..config.clone() }, &start)?;
    train(context, config, "1-sft", &start, &plain, examples, Order::All(examples.len()), &sft)?;
    let (mut weak, mut strong) = (first_weak, trained(&start, &sft)?);
    // Entropies of every model so far, the oldest first.
    let mut entropies = Vec::new();
    for round in 0..config.rounds {
        let number = |phase: u64| 2 + 3 * round + phase;
        let names =
            [format!("{}-score", number(0)), format!("{}-curriculum", number(1)), format!("{}-mix", number(2))];
        let files = score(context, config, &names[0], &weak, &strong, examples, out)?;
        entropies.extend(files.into_iter().skip(usize::from(round > 0)));
        let order = draw(context, config, &names[1], &entropies, examples, out)?;
        let objective = objective::of(config);
        let auxiliaries = [weak].into_iter().take(objective.auxiliaries().len()).collect();
        let models = Models { objective, auxiliaries };
        let mix = out.join(&names[2]);
        train(context, config, &names[2], &strong, &models, examples, order, &mix)?;
        let next = trained(&start, &mix)?;
        (weak, strong) = (strong, next);
    }
    export(config, &strong, out)
}

/// What a phase left: an adapter on the model of the first, or a model of its own.
fn trained(start: &Source, folder: &Path) -> Result<Source, Error> {
    if start.adapter.is_some() { start.with(folder) } else { Source::open(folder) }
}

#[allow(clippy::too_many_arguments, reason = "as `phase::train`")]
fn train(
    context: &mut Context<'_>,
    config: &Config,
    name: &str,
    strong: &Source,
    models: &Models,
    examples: &[Example],
    order: Order,
    out: &Path,
) -> Result<(), Error> {
    if is_model(out) {
        return Ok(context.report.event(&Event::Note(&format!("{name} is finished already")))?);
    }
    // Between phases nothing is rounded: bf16, if wanted, is for the final model.
    phase::train(context, config, name, strong, models, examples, order, out, settings::Dtype::F32, true)?;
    Ok(())
}

/// Entropies under both models, from their files where those stand.
fn score(
    context: &mut Context<'_>,
    config: &Config,
    name: &str,
    weak: &Source,
    strong: &Source,
    examples: &[Example],
    out: &Path,
) -> Result<[PathBuf; 2], Error> {
    let folder = make(out, name)?;
    let files = ["weak", "strong"].map(|side| folder.join(format!("{side}.jsonl")));
    for (source, (file, side)) in [weak, strong].into_iter().zip(files.iter().zip(["weak", "strong"])) {
        if file.exists() {
            context.report.event(&Event::Note(&format!("{name} ({side}) is finished already")))?;
            continue;
        }
        let scored = phase::score(context, config, &format!("{name} ({side})"), source, examples)?;
        let rows: Vec<EntropyRow> = scored.into_iter().map(|s| s.row).collect();
        curriculum::write_entropies(file, &rows)?;
    }
    Ok(files)
}

/// Weights and drawn samples, written down.
fn draw(
    context: &mut Context<'_>,
    config: &Config,
    name: &str,
    entropies: &[PathBuf],
    examples: &[Example],
    out: &Path,
) -> Result<Order, Error> {
    let folder = make(out, name)?;
    let (rule, wanted) = rule(config, entropies.len());
    let newest: Vec<&Path> = entropies[entropies.len() - wanted..].iter().map(PathBuf::as_path).collect();
    let rows: Vec<CurriculumRow> = curriculum::from_files(&rule, &newest)?;
    curriculum::write_curriculum(&folder.join("weights.jsonl"), &rows)?;
    let order = phase::choose_order(config, examples, Some(&rows))?;
    let drawn = if let Order::Drawn(drawn) = &order { drawn.as_slice() } else { &[] };
    let lines: String = drawn.iter().map(|i| format!("{{\"idx\":{}}}\n", examples[*i].idx)).collect();
    let path = folder.join("drawn.jsonl");
    std::fs::write(&path, lines).map_err(|e| Error::User(format!("{}: {e}", path.display())))?;
    let weights: Vec<f64> = rows.iter().map(|row| row.weight).collect();
    let effective = curriculum::effective_sample_size(&weights);
    let (drawn, of) = (count(drawn.len() as u64), count(rows.len() as u64));
    let text = format!("{name}: {drawn} samples drawn from {of}, which weigh as much as {effective:.0} equal ones");
    context.report.event(&Event::Note(&text))?;
    Ok(order)
}

/// How samples are weighed when `models` models were scored, and how many of the newest that takes.
fn rule(config: &Config, models: usize) -> (Rule, usize) {
    let settings::Curriculum { rule, alpha, beta, gamma, .. } = config.curriculum;
    match rule {
        CurriculumRule::Uniform => (Rule::Uniform, 2),
        CurriculumRule::Brownboost if models > 2 => (Rule::Brownboost(Brownboost::default()), 3),
        CurriculumRule::Wmss | CurriculumRule::Brownboost => (Rule::Wmss { alpha, beta, gamma }, 2),
    }
}

fn make(out: &Path, name: &str) -> Result<PathBuf, Error> {
    let folder = out.join(name);
    std::fs::create_dir_all(&folder).map_err(|e| Error::User(format!("{}: {e}", folder.display())))?;
    Ok(folder)
}

/// Writes the strong model into the run's own folder.
fn export(config: &Config, strong: &Source, out: &Path) -> Result<(), Error> {
    let dtype = match config.written() {
        settings::Dtype::Auto => Source::open(config.model()?)?.files(settings::Dtype::Auto).dtype,
        chosen => strong.files(chosen).dtype,
    };
    let files = strong.files(settings::Dtype::F32);
    folder::sweep(out)?;
    let entries = strong.layout().map_or_else(|| strong.config.entries(), |layout| layout.entries());
    formats::save(out, &files.contents(&entries), dtype, SHARD_BYTES, |entry| match strong.adapter_folder() {
        Some(adapter) => adapter.read_vec(&entry.name, &entry.dims),
        None => strong.weights.read_vec(&entry.name, &entry.dims),
    })?;
    Ok(())
}
