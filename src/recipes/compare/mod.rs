//! Several methods from one start, with equal updates or equal arithmetic, side by side.
//!
//! For every seed: plain fine-tuning of M0 makes M1, once; every arm then goes on from M1 in a folder of its own, which is a
//! run of `underdog train` like any other. What is finished is kept, so the same command goes on where it was stopped.

mod arm;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use arm::Arm;
pub use table::{Comparison, Row as ComparisonRow};

use super::single;
use crate::{
    data::{
        Dataset,
        curriculum::{self, EntropyRow, Rule},
    },
    infer::score,
    model,
    objective::{self, Origin},
    report::Event,
    session::{self, Context, Directory, Error, Source, key, missing, outline, same_tokens, write},
    settings::{Config, CurriculumRule, Method},
    train::engine::Spec,
};

/// What is the same for all arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Equal {
    /// Optimizer updates.
    Updates,
    /// Arithmetic: arms that run two models get fewer updates.
    Flops,
}

/// What one arm reached with one seed; `result.json` of its folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outcome {
    /// Digest of the held-out samples.
    held_out: String,
    /// Nats per target token over all held-out samples.
    loss: f64,
    /// Of each held-out sample, nats per target token.
    losses: Vec<f64>,
    /// Of each, whether greedy decoding gives the whole completion.
    exact: Vec<bool>,
    /// Optimizer updates after M1.
    updates: u64,
    /// Tokens computed in these.
    tokens: u64,
    /// Seconds they took.
    seconds: f64,
    /// Device memory, in bytes; 0 if it is not known any more.
    bytes: u64,
}

/// Runs what is not finished yet, and compares.
///
/// # Errors
/// Whatever is wrong with the user's files or settings, before any work; whatever stops a phase: what is done stays.
pub fn compare(
    context: &mut Context<'_>,
    config: &Config,
    arms: &[Arm],
    seeds: u64,
    equal: Equal,
) -> Result<Comparison, Error> {
    let root = config.out()?;
    let m0 = Source::open(config.model()?)?;
    let train = session::dataset(context.report, config, &m0.tokenizer, m0.config.vocab)?;
    let measured = Config { data: Some(config.held_out()?.into()), ..config.clone() };
    let held_out = session::dataset(context.report, &measured, &m0.tokenizer, m0.config.vocab)?;
    let plan = Plan { config, arms, equal, root, m0: &m0, train: &train, held_out: &held_out };
    let mut directory = plan.check(context, seeds)?;
    let inputs = key::of([("data", key::of_data(&train.examples, None)), ("model", key::of_model(&m0)?)]);
    directory.create(&plan.shared())?;
    directory.same_inputs(&inputs)?;
    // What was chosen for one arm holds for those that are still to come.
    session::recall(context, config)?;

    let mut rows = vec![table::Row::new("M0"), table::Row::new("M1")];
    rows.extend(arms.iter().map(|arm| table::Row::new(&arm.name)));
    let start = plan.measure(context, &root.join("M0"), &m0, None)?;
    for seed in 0..seeds {
        let outcomes = plan.seed(context, seed)?;
        rows[0].add(start.clone());
        rows[1..].iter_mut().zip(outcomes).for_each(|(row, outcome)| row.add(outcome));
    }
    let comparison = Comparison::new(rows, arm::BASELINE, config.seed);
    for (name, text) in [("table.md", comparison.markdown()), ("table.json", comparison.json())] {
        write(&root.join(name), text.as_bytes())?;
    }
    Ok(comparison)
}

/// A comparison with everything opened.
struct Plan<'a> {
    config: &'a Config,
    arms: &'a [Arm],
    equal: Equal,
    root: &'a Path,
    m0: &'a Source,
    train: &'a Dataset,
    held_out: &'a Dataset,
}

impl Plan<'_> {
    /// Settings that all arms share. A teacher is only for some.
    fn shared(&self) -> Config {
        Config { teacher: None, ..self.config.clone() }
    }

    /// Settings of the phase that makes M1.
    fn first(&self, seed: u64) -> Config {
        Config {
            method: Method::Sft,
            seed: self.config.seed + seed,
            out: Some(self.folder(seed).join("1-sft")),
            held_out: None,
            resume: true,
            ..self.shared()
        }
    }

    fn folder(&self, seed: u64) -> PathBuf {
        self.root.join(self.seed_name(seed))
    }

    fn seed_name(&self, seed: u64) -> String {
        format!("seed-{}", self.config.seed + seed)
    }

    /// Tells these held-out samples from others.
    fn held_out_key(&self) -> String {
        key::of_data(&self.held_out.examples, None)["examples"].as_str().unwrap_or_default().into()
    }

    /// Settings of an arm, with the updates that are its share.
    fn arm(&self, arm: &Arm, seed: u64) -> Result<Config, Error> {
        let folder = self.folder(seed);
        let base = Config { seed: self.config.seed + seed, held_out: None, resume: true, ..self.config.clone() };
        let (m1, weights) = (folder.join("1-sft"), folder.join("2-curriculum.jsonl"));
        let mut config = arm.config(&base, [&self.m0.path, &m1], weights.clone(), &folder)?;
        if config.weights.as_ref() == Some(&weights) && rule(&config) != rule(&base) {
            config.weights = Some(folder.join(format!("2-curriculum-{}.jsonl", arm.folder())));
        }
        let steps = self.updates(arm, &config)?;
        let drawn = config.curriculum.multiplier * self.train.examples.len() as f64;
        let samples = if arm.is_drawn() { drawn.round().max(1.0) as usize } else { self.train.examples.len() };
        let epochs = steps.div_ceil(samples.div_ceil(config.batch_size) as u64);
        Ok(Config { epochs, max_steps: Some(steps), ..config })
    }

    /// Updates of an arm after M1: those of another plain phase, or as many as cost what these cost.
    fn updates(&self, arm: &Arm, config: &Config) -> Result<u64, Error> {
        let per_epoch = self.train.examples.len().div_ceil(self.config.batch_size) as u64;
        let all = self.config.epochs * per_epoch;
        let all = self.config.max_steps.map_or(all, |most| most.min(all));
        if self.equal == Equal::Updates {
            return Ok(all);
        }
        let strong = &self.m0.config;
        // The curriculum needs a forward pass of both models over all samples.
        let scores = if arm.is_drawn() { 2.0 * per_epoch as f64 } else { 0.0 };
        let affordable = (all as f64 * 3.0 - scores) / step_cost(&outline(config, strong)?);
        match affordable.floor() {
            steps if steps >= 1.0 => Ok(steps as u64),
            _ => Err(Error::User(format!(
                "--equal flops: the scores of {} cost more than the {all} updates of {}; train for more --epochs",
                arm.name,
                arm::BASELINE
            ))),
        }
    }

    /// Everything that can be wrong with an arm or its folder, before any work; the directory of the comparison.
    fn check(&self, context: &Context<'_>, seeds: u64) -> Result<Directory, Error> {
        let first = ["table.md", "table.json", "M0", "entropies-M0.jsonl"].map(str::to_owned).into_iter();
        let also: Vec<String> = first.chain((0..seeds).map(|seed| self.seed_name(seed))).collect();
        let directory = Directory::open(&self.shared(), true, &also)?;
        for seed in 0..seeds {
            Directory::open(&self.first(seed), true, &[])?;
            for arm in self.arms {
                Directory::open(&self.arm(arm, seed)?, true, &[])?;
            }
        }
        for arm in self.arms {
            let config = self.arm(arm, 0)?;
            if config.trains_adapter() {
                let text = format!("{}: compare trains whole models; leave the settings of adapters out", arm.name);
                return Err(Error::User(text));
            }
            session::check_fits(context, &config, &self.m0.config, &self.train.examples)?;
            for weights in config.weights.iter().filter(|file| !file.starts_with(self.root)) {
                curriculum::read_curriculum(weights)?;
            }
            for auxiliary in objective::of(&config).auxiliaries() {
                match auxiliary.origin {
                    Origin::Missing { key, what } => return Err(missing(key, what)),
                    Origin::Folder(folder) if !folder.starts_with(self.root) => {
                        same_tokens(&Source::open(&folder)?, self.m0)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(directory)
    }

    /// M1 and every arm with one seed.
    fn seed(&self, context: &mut Context<'_>, seed: u64) -> Result<Vec<Outcome>, Error> {
        let first = self.first(seed);
        let m1 = first.out()?;
        let mut outcomes = vec![self.run(context, &first)?];
        for arm in self.arms {
            let config = self.arm(arm, seed)?;
            match &config.weights {
                Some(weights) if weights.starts_with(self.folder(seed)) && !weights.exists() => {
                    self.curriculum(context, &config, &Source::open(m1)?, weights, seed)?;
                }
                _ => {}
            }
            outcomes.push(self.run(context, &config)?);
        }
        Ok(outcomes)
    }

    /// Trains one run and measures it, unless that was done.
    fn run(&self, context: &mut Context<'_>, config: &Config) -> Result<Outcome, Error> {
        let out = config.out()?;
        if let Some(outcome) = self.measured(out) {
            return Ok(outcome);
        }
        let shown = out.strip_prefix(self.root).unwrap_or(out).display().to_string();
        context.report.event(&Event::Note(&shown))?;
        // Written down at once: a run that is stopped before it is measured goes on with a model that stands.
        let memory = out.join(MEMORY);
        let bytes = match single(context, config)? {
            Some(trained) => write(&memory, trained.bytes.to_string().as_bytes()).map(|()| trained.bytes)?,
            None => fs::read_to_string(&memory).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
        };
        self.measure(context, out, &Source::open(out)?, Some(bytes))
    }

    /// What was found of the model in `folder` on these very samples.
    fn measured(&self, folder: &Path) -> Option<Outcome> {
        let text = fs::read_to_string(folder.join(RESULT)).ok()?;
        serde_json::from_str(&text).ok().filter(|outcome: &Outcome| outcome.held_out == self.held_out_key())
    }

    /// Measures a model on the held-out samples and writes that into `out`; `bytes` if it was trained there.
    fn measure(
        &self,
        context: &mut Context<'_>,
        out: &Path,
        source: &Source,
        bytes: Option<u64>,
    ) -> Result<Outcome, Error> {
        if let Some(outcome) = self.measured(out) {
            return Ok(outcome);
        }
        let scored = session::score(context, self.config, "held-out samples", source, &self.held_out.examples)?;
        let [updates, tokens, seconds] = bytes.map_or(Ok([0.0; 3]), |_| totals(&out.join("metrics.jsonl")))?;
        let outcome = Outcome {
            held_out: self.held_out_key(),
            loss: score::mean_loss(&scored),
            losses: scored.iter().map(|s| s.row.loss).collect(),
            exact: scored.iter().map(|s| s.exact).collect(),
            updates: updates as u64,
            tokens: tokens as u64,
            seconds,
            bytes: bytes.unwrap_or(0),
        };
        fs::create_dir_all(out).map_err(|e| Error::User(format!("{}: {e}", out.display())))?;
        write(&out.join(RESULT), serde_json::to_string(&outcome).unwrap_or_default().as_bytes())?;
        Ok(outcome)
    }

    /// The weights that an arm of these settings draws by, from entropies of M0 and M1.
    fn curriculum(
        &self,
        context: &mut Context<'_>,
        config: &Config,
        m1: &Source,
        weights: &Path,
        seed: u64,
    ) -> Result<(), Error> {
        let files = [self.root.join("entropies-M0.jsonl"), self.folder(seed).join("2-entropies-M1.jsonl")];
        for (source, file) in [self.m0, m1].into_iter().zip(&files) {
            if !file.exists() {
                let scored = session::score(context, self.config, "entropies", source, &self.train.examples)?;
                let rows: Vec<EntropyRow> = scored.into_iter().map(|s| s.row).collect();
                curriculum::write_entropies(file, &rows)?;
            }
        }
        let rows = curriculum::from_files(&rule(config), &[&files[0], &files[1]])?;
        curriculum::write_curriculum(weights, &rows)?;
        let drawn: Vec<f64> = rows.iter().map(|row| row.weight).collect();
        let effective = curriculum::effective_sample_size(&drawn);
        let text = format!("curriculum: {} samples weigh as much as {effective:.0} equal ones", rows.len());
        Ok(context.report.event(&Event::Note(&text))?)
    }
}

/// How samples are weighed after a first phase, for which there are two models.
fn rule(config: &Config) -> Rule {
    let crate::settings::Curriculum { rule, alpha, beta, gamma, .. } = config.curriculum;
    match rule {
        CurriculumRule::Uniform => Rule::Uniform,
        CurriculumRule::Wmss | CurriculumRule::Brownboost => Rule::Wmss { alpha, beta, gamma },
    }
}

/// Cost of an update in forward passes of the main model: a backward pass costs two, and only models that learn need one.
fn step_cost(spec: &Spec) -> f64 {
    let size = |config: &model::Config| config.parameter_count() as f64 / spec.model.parameter_count() as f64;
    let auxiliaries = spec.auxiliaries.iter().zip(spec.learning());
    3.0 + auxiliaries.map(|(other, learns)| size(&other.config) * if learns { 3.0 } else { 1.0 }).sum::<f64>()
}

const RESULT: &str = "result.json";
/// Bytes of device memory that training took.
const MEMORY: &str = "memory.txt";

/// Steps, tokens and seconds of a run.
fn totals(metrics: &Path) -> Result<[f64; 3], Error> {
    #[derive(Deserialize)]
    struct Line {
        tokens: f64,
        seconds: f64,
    }
    let failed = |e: String| Error::User(format!("{}: {e}", metrics.display()));
    let text = fs::read_to_string(metrics).map_err(|e| failed(e.to_string()))?;
    let mut totals = [0.0; 3];
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).map_err(|e| failed(e.to_string()))?;
        totals = [totals[0] + 1.0, totals[1] + line.tokens, totals[2] + line.seconds];
    }
    Ok(totals)
}
