//! The suite: what is measured in which order, for how long, and what is left out.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use super::{
    case::Case,
    ceilings::{self, Ceilings},
    checks,
    error::Error,
    kernels,
    measure::{Budget, sample},
    results::{self, Entry, Machine, Results, SCHEMA, Skipped, Unit},
    steps,
};
use crate::{
    gpu::{self, Extents, Gpu, Kernel},
    graph::ops,
    kernels::tuner::{self, Effort, Message},
    platform::{self, tuning_cache},
    report::{Event, Report, WarningCode},
    train::engine,
};

/// The device is called slower at the end than at the start from this share on.
const SLOWER: f64 = 0.93;

/// How thorough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// Under 3 minutes on a laptop's GPU
    #[default]
    Quick,
    /// Longer, with larger shapes and models
    Full,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }

    fn kernel_budget(self) -> Budget {
        match self {
            Self::Quick => Budget { seconds: 0.6, limit: 6.0 },
            Self::Full => Budget { seconds: 4.0, limit: 60.0 },
        }
    }

    fn step_budget(self) -> Budget {
        match self {
            Self::Quick => Budget { seconds: 4.0, limit: 20.0 },
            Self::Full => Budget { seconds: 20.0, limit: 240.0 },
        }
    }
}

/// What to measure.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How thorough.
    pub suite: Suite,
    /// Only kernels and steps whose names contain this, whatever the case. A model that it names is measured on any
    /// device.
    pub filter: Option<String>,
    /// Most bytes of device memory for a model.
    pub memory: Option<u64>,
    /// How thoroughly kernels are chosen for the device; `None`: the portable forms are measured.
    pub autotune: Option<Effort>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.to_lowercase().contains(&filter.to_lowercase()))
    }

    fn names_model(&self, model: &str) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.to_lowercase().contains(model))
    }
}

/// Measures ceilings, kernels and steps, and checks the numbers that they compute.
///
/// # Errors
/// If the device fails, the filter names nothing, or `stop` is set.
pub fn run(gpu: &Gpu, options: &Options, report: &mut Report, stop: &AtomicBool) -> Result<Results, Error> {
    let (kernels, steps) = (wanted_kernels(gpu, options), wanted_steps(gpu, options));
    if kernels.is_empty() && steps.is_empty() {
        return Err(no_such_name(options));
    }
    let mut run = Run {
        gpu,
        options,
        report,
        stop,
        start: Instant::now(),
        done: 0,
        results: Results {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            date: results::now(),
            suite: options.suite.name().into(),
            filter: options.filter.clone(),
            machine: Machine::of(gpu),
            seconds: 0.0,
            entries: Vec::new(),
            skipped: Vec::new(),
            checks: Vec::new(),
            warnings: Vec::new(),
        },
    };
    run.begin(kernels.len() + steps.len() + 2);
    let (ceilings, entries) = ceilings::measure(gpu, options.suite.kernel_budget())?;
    run.results.entries = entries;
    run.advance()?;
    for case in &kernels {
        run.kernel(case, &ceilings)?;
        run.advance()?;
    }
    for (allowed, case) in &steps {
        if *allowed {
            run.step(case, &ceilings)?;
        } else {
            let why = if gpu.is_cpu() { "software drivers are too slow for it" } else { "part of --suite full" };
            run.skip(&case.name, format!("{why}; --filter {} measures it all the same", case.model()));
        }
        run.advance()?;
    }
    run.throttling(&ceilings)?;
    run.results.checks = checks::run(gpu)?;
    run.advance()?;
    Ok(run.finish())
}

fn wanted_kernels(gpu: &Gpu, options: &Options) -> Vec<Case> {
    let full = options.suite == Suite::Full;
    let wanted = kernels::cases().into_iter().filter(|c| c.tier.holds(gpu.is_cpu(), full) && options.wants(&c.name));
    wanted.filter(|case| case.is_offered(gpu)).collect()
}

/// Those whose names the filter holds, and whether they are measured on this device.
fn wanted_steps(gpu: &Gpu, options: &Options) -> Vec<(bool, steps::StepCase)> {
    let full = options.suite == Suite::Full;
    let allowed = |case: &steps::StepCase| case.tier.holds(gpu.is_cpu(), full) || options.names_model(case.model());
    let wanted = steps::cases().into_iter().filter(|case| options.wants(&case.name));
    wanted.map(|case| (allowed(&case), case)).collect()
}

fn no_such_name(options: &Options) -> Error {
    let mut kernels = kernels::cases();
    kernels.dedup_by_key(|case| case.group);
    let names = kernels.into_iter().map(|case| case.name).chain(steps::cases().into_iter().map(|case| case.name));
    Error::Filter { filter: options.filter.clone().unwrap_or_default(), names: names.collect() }
}

struct Run<'a> {
    gpu: &'a Gpu,
    options: &'a Options,
    report: &'a mut Report,
    stop: &'a AtomicBool,
    start: Instant,
    done: u64,
    results: Results,
}

impl Run<'_> {
    fn tell(&mut self, event: &Event<'_>) {
        // Only a step's metrics can fail, and there are none.
        let _ = self.report.event(event);
    }

    fn begin(&mut self, total: usize) {
        let title = format!("bench on {}", self.gpu.name());
        self.tell(&Event::RunStarted { title: &title, facts: &[] });
        self.tell(&Event::PhaseStarted { name: "bench", unit: "measurement", total: total as u64, done: 0 });
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.done += 1;
        let (done, elapsed) = (self.done, self.start.elapsed().as_secs_f64());
        let seconds = elapsed - self.results.seconds;
        self.results.seconds = elapsed;
        self.tell(&Event::Progress { done, tokens: 0, seconds });
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn skip(&mut self, name: &str, reason: String) {
        self.results.skipped.push(Skipped { name: name.into(), reason });
    }

    /// Chooses the variants of kernels that are about to be measured.
    fn tune(
        &mut self,
        work: impl IntoIterator<Item = (&'static Kernel, Extents)>,
        planned: u64,
    ) -> Result<(), Error> {
        let options = self.options.autotune.map(|effort| tuner::Options { effort, half: false, planned });
        let (gpu, folder, stop) = (self.gpu, platform::cache_folder(), self.stop);
        let tell = |what| match what {
            // Every shape would have a line of its own.
            Message::Note(_) => {}
            Message::Warning(text) => self.tell(&Event::Warning { code: WarningCode::Device, text: &text }),
        };
        let go_on = || !stop.load(Ordering::Relaxed);
        Ok(tuning_cache::choose(gpu, ops::groups(), work, options, folder.as_deref(), go_on, tell)?)
    }

    fn kernel(&mut self, case: &Case, ceilings: &Ceilings) -> Result<(), Error> {
        let recorded = case.recorded();
        if case.variant.is_none() {
            self.tune(recorded.dispatches(), u64::MAX)?;
        }
        let loaded = match case.load_recorded(self.gpu, recorded) {
            Err(error @ gpu::Error::OutOfMemory { .. }) => {
                self.skip(&case.name, error.to_string());
                return Ok(());
            }
            loaded => loaded?,
        };
        let measured = sample(self.options.suite.kernel_budget(), |times| {
            Ok(loaded.time(self.gpu, times)?.total.as_secs_f64())
        })?;
        drop(loaded);
        self.gpu.flush()?;
        match measured {
            Err(seconds) => self.skip(&case.name, too_slow(seconds)),
            Ok(samples) => {
                let (unit, ceiling) = (case.limit.unit(), ceilings.of(case.limit));
                let mut entry = Entry::of_rate(&case.name, case.group, &samples, case.work, unit, ceiling);
                let seconds = case.work / (entry.median * 1e9) * samples.times as f64;
                if ceilings.submission > 0.02 * seconds {
                    let share = ceilings.submission / seconds * 100.0;
                    entry = entry.with_note(&format!("{share:.0}% of the time may be the submission's"));
                }
                self.results.entries.push(entry);
            }
        }
        Ok(())
    }

    fn step(&mut self, case: &steps::StepCase, ceilings: &Ceilings) -> Result<(), Error> {
        let mut budget = self.options.suite.step_budget();
        if self.options.names_model(case.model()) {
            budget.limit = f64::INFINITY;
        }
        if let Ok(plan) = case.plan(self.gpu.max_binding(), 0) {
            self.tune(plan.work(), plan.footprint().total())?;
        }
        let mut trainer = match case.load(self.gpu, self.options.memory) {
            Err(
                error @ (Error::Gpu(gpu::Error::OutOfMemory { .. })
                | Error::Engine(
                    engine::Error::Gpu(gpu::Error::OutOfMemory { .. }) | engine::Error::Memory { .. },
                )),
            ) => {
                self.skip(&case.name, error.to_string());
                return self.gpu.flush().map_err(Error::from);
            }
            loaded => loaded?,
        };
        let measured = sample(budget, |times| {
            let start = Instant::now();
            for _ in 0..times {
                trainer.step()?;
            }
            Ok(start.elapsed().as_secs_f64())
        })?;
        let (peak, recompute) = (trainer.footprint.total(), trainer.recompute);
        drop(trainer);
        self.gpu.flush()?;
        match measured {
            Err(seconds) => self.skip(&case.name, too_slow(seconds)),
            Ok(samples) => {
                let tokens = case.tokens() as f64;
                let ceiling = ceilings.fma_f32 / case.flops() * tokens;
                let mut entry = Entry::of_rate(&case.name, "step", &samples, tokens, Unit::Tokens, Some(ceiling));
                entry.peak_bytes = Some(peak);
                if recompute {
                    entry = entry.with_note("activations computed twice, to fit the memory");
                }
                self.results.entries.push(entry);
            }
        }
        Ok(())
    }

    /// Compares the device's speed with that of the beginning.
    fn throttling(&mut self, ceilings: &Ceilings) -> Result<(), Error> {
        let share = ceilings::fma_again(self.gpu)? / ceilings.fma_f32;
        if share < SLOWER {
            let lost = (1.0 - share) * 100.0;
            self.results.warnings.push(format!(
                "the device slowed down: at the end it does {lost:.0}% fewer multiply-adds a second than at the start; it is \
                 hot, short of power, or busy with something else"
            ));
        }
        Ok(())
    }

    fn finish(mut self) -> Results {
        self.results.seconds = self.start.elapsed().as_secs_f64();
        let (seconds, failed) = (self.results.seconds, self.results.failed().len());
        let summary = if failed == 0 { String::new() } else { format!("{failed} checks failed") };
        self.tell(&Event::PhaseFinished { name: "bench", seconds, summary: &summary });
        self.results
    }
}

fn too_slow(seconds: f64) -> String {
    format!("one run takes {}, too long for this suite", crate::report::duration(seconds))
}
