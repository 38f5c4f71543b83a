//! All phases of weak-driven learning (WMSS, arXiv 2602.08222):
//!
//! ```text
//! M0 -> SFT -> M1 -> entropies of M0 and M1 -> curriculum -> joint training of (M1, M0) on drawn samples -> strong model
//! ```
//!
//! A further round takes the new strong model as M1 and the previous M1 as the weak one. Each phase has a folder of its own
//! under the run's; one that is finished is kept, one that was interrupted goes on.

use std::path::{Path, PathBuf};

use crate::{
    data::{
        Example,
        curriculum::{self, Brownboost, CurriculumRow, EntropyRow, Rule},
        sampler::Order,
    },
    formats::{self, ReadTensors, SHARD_BYTES},
    objective,
    report::{Event, count},
    session::{self, Context, Directory, Error, Models, Source, State, Training, is_model, key, same_tokens},
    settings::{self, Config, CurriculumRule, Method},
};

/// The names of a round's phases.
fn names(round: u64) -> [String; 3] {
    let first = 2 + 3 * round;
    [format!("{first}-score"), format!("{}-curriculum", first + 1), format!("{}-mix", first + 2)]
}

/// The first phase.
const SFT: &str = "1-sft";

/// Runs what is not finished yet; the strong model then stands in `config.out` itself.
///
/// # Errors
/// Whatever stops a phase; those before it stay.
pub fn wmss(context: &mut Context<'_>, config: &Config) -> Result<(), Error> {
    let out = config.out()?;
    let start = Source::of(config)?;
    let dataset = session::dataset(context.report, config, &start.tokenizer, start.config.vocab)?;
    let examples = &dataset.examples;
    let also: Vec<String> = [SFT.to_owned()].into_iter().chain((0..config.rounds).flat_map(names)).collect();
    let mut directory = Directory::open(config, true, &also)?;
    if directory.state() == State::Finished {
        return Ok(context.report.event(&Event::Note("every phase is finished already"))?);
    }
    // Before anything is trained, a fresh adapter changes nothing: then the weak model is the base itself.
    let first_weak = config.weak.first().map_or_else(|| start.untrained(), |folder| start.beside(folder))?;
    same_tokens(&first_weak, &start)?;
    session::check_fits(context, config, &start.config, examples)?;
    let inputs = key::of([
        ("data", key::of_data(examples, None)),
        ("model", key::of_model(&start)?),
        ("weak", key::of_model(&first_weak)?),
    ]);
    directory.create(config)?;
    directory.same_inputs(&inputs)?;

    let mut run = Run { context, config, directory, examples, start: &start, out };
    let sft = out.join(SFT);
    let plain = Models::open(run.context, &Config { method: Method::Sft, ..config.clone() }, &start)?;
    run.train(SFT, &start, &plain, Order::All(examples.len()))?;
    let (mut weak, mut strong) = (first_weak, run.trained(&sft)?);
    // Entropies of every model so far, the oldest first.
    let mut entropies = Vec::new();
    for round in 0..config.rounds {
        let [score, curriculum, mix] = names(round);
        let files = run.score(&score, &weak, &strong)?;
        entropies.extend(files.into_iter().skip(usize::from(round > 0)));
        let order = run.draw(&curriculum, &entropies)?;
        let objective = objective::of(config);
        let auxiliaries = [weak].into_iter().take(objective.auxiliaries().len()).collect();
        run.train(&mix, &strong, &Models { objective, auxiliaries }, order)?;
        let next = run.trained(&out.join(&mix))?;
        (weak, strong) = (strong, next);
    }
    export(config, &strong, out)
}

/// A run of all phases.
struct Run<'a, 'c> {
    context: &'a mut Context<'c>,
    config: &'a Config,
    directory: Directory,
    examples: &'a [Example],
    start: &'a Source,
    out: &'a Path,
}

impl Run<'_, '_> {
    /// What a phase left: an adapter on the model of the first, or a model of its own.
    fn trained(&self, folder: &Path) -> Result<Source, Error> {
        if self.start.adapter.is_some() { self.start.with(folder) } else { Source::open(folder) }
    }

    fn train(&mut self, name: &str, main: &Source, models: &Models, order: Order) -> Result<(), Error> {
        let Self { context, config, directory, examples, out, .. } = self;
        let out = &out.join(name);
        if is_model(out) {
            return Ok(context.report.event(&Event::Note(&format!("{name} is finished already")))?);
        }
        // Between phases nothing is rounded: bf16, if wanted, is for the final model.
        let dtype = settings::Dtype::F32;
        Training { config, name, main, models, examples, order, out, dtype }.run(context, directory)?;
        Ok(())
    }

    /// Entropies under both models, from their files where those stand.
    fn score(&mut self, name: &str, weak: &Source, strong: &Source) -> Result<[PathBuf; 2], Error> {
        let folder = make(self.out, name)?;
        let files = ["weak", "strong"].map(|side| folder.join(format!("{side}.jsonl")));
        for (source, (file, side)) in [weak, strong].into_iter().zip(files.iter().zip(["weak", "strong"])) {
            if file.exists() {
                self.context.report.event(&Event::Note(&format!("{name} ({side}) is finished already")))?;
                continue;
            }
            let name = format!("{name} ({side})");
            let scored = session::score(self.context, self.config, &name, source, self.examples)?;
            let rows: Vec<EntropyRow> = scored.into_iter().map(|s| s.row).collect();
            curriculum::write_entropies(file, &rows)?;
        }
        Ok(files)
    }

    /// Weights and drawn samples, written down.
    fn draw(&mut self, name: &str, entropies: &[PathBuf]) -> Result<Order, Error> {
        let (config, examples) = (self.config, self.examples);
        let folder = make(self.out, name)?;
        let (rule, wanted) = rule(config, entropies.len());
        let newest: Vec<&Path> = entropies[entropies.len() - wanted..].iter().map(PathBuf::as_path).collect();
        let rows: Vec<CurriculumRow> = curriculum::from_files(&rule, &newest)?;
        curriculum::write_curriculum(&folder.join("weights.jsonl"), &rows)?;
        let order = session::choose_order(config, examples, Some(&rows))?;
        let drawn = if let Order::Drawn(drawn) = &order { drawn.as_slice() } else { &[] };
        let lines: String = drawn.iter().map(|i| format!("{{\"idx\":{}}}\n", examples[*i].idx)).collect();
        session::write(&folder.join("drawn.jsonl"), lines.as_bytes())?;
        let weights: Vec<f64> = rows.iter().map(|row| row.weight).collect();
        let effective = curriculum::effective_sample_size(&weights);
        let (drawn, of) = (count(drawn.len() as u64), count(rows.len() as u64));
        let text =
            format!("{name}: {drawn} samples drawn from {of}, which weigh as much as {effective:.0} equal ones");
        self.context.report.event(&Event::Note(&text))?;
        Ok(order)
    }
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
    session::remove_partial(out)?;
    let entries = strong.layout().map_or_else(|| strong.config.entries(), |layout| layout.entries());
    formats::save(out, &files.contents(&entries), dtype, SHARD_BYTES, |entry| match strong.adapter_folder() {
        Some(adapter) => adapter.read_vec(&entry.name, &entry.dims),
        None => strong.weights.read_vec(&entry.name, &entry.dims),
    })?;
    Ok(())
}
