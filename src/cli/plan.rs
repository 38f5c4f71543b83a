//! `underdog plan`

use serde_json::json;

use super::args::PlanArgs;
use crate::{
    config::Config,
    data::{Example, sampler::Epochs, tokenizer::Tokenizer},
    model::{self, config::Parameter},
    report::{self, Console, Report, Table, bytes, count},
    run::{self, Error},
};

/// Bytes that a binding may span on common GPUs; a device with less splits tables, which costs nothing.
const MAX_BINDING: u64 = (2 << 30) - 4;

pub(super) fn run(args: &PlanArgs, json: bool) -> Result<(), Error> {
    let config = args.config()?;
    let strong = model::Config::open(config.model()?)?;
    let models = run::outline(&config, &strong)?;
    let steps = steps(&config, &strong)?;
    let batches: Vec<Vec<&Example>> = steps.iter().map(|step| step.iter().collect()).collect();
    let memory = config.memory.map(|size| size.0);
    let (spec, blueprint) = run::blueprint(&config, &strong, models, &batches, (MAX_BINDING, memory))?;
    let footprint = blueprint.footprint();
    let [pass, update] = blueprint.dispatches();
    let passes = batches.iter().map(|batch| crate::data::pack(batch, spec.tokens).map_or(0, |rows| rows.len()));
    let passes = passes.sum::<usize>() as f64 / batches.len().max(1) as f64;
    let parameters = strong.parameters().iter().map(Parameter::count).sum::<usize>();
    if json {
        return Ok(report::json(&json!({
            "parameters": parameters,
            "peak_bytes": footprint.total(),
            "parts": footprint,
            "tokens_per_pass": spec.tokens,
            "passes_per_step": passes,
            "recompute": spec.recompute,
            "dispatches": { "pass": pass, "update": update },
        }))?);
    }
    let mut table = Table::new(["device memory", ""]);
    for (name, size) in [
        ("weights", footprint.weights),
        ("gradients", footprint.gradients),
        ("optimizer", footprint.optimizer),
        ("weak model or teacher", footprint.weak),
        ("inputs", footprint.inputs),
        ("activations", footprint.activations),
        ("peak", footprint.total()),
    ] {
        table.row([name.to_owned(), bytes(size)]);
    }
    let mut recompute = if spec.recompute { "computed twice" } else { "kept" }.to_owned();
    if run::streams(&spec) {
        recompute += ", layers of the weak model or teacher read in every pass";
    }
    report::text(&format!(
        "{} parameters, rows of {} tokens, {passes:.1} passes a step, activations {recompute}\n\n{}",
        count(parameters as u64),
        count(spec.tokens as u64),
        table.render()
    ))?;
    Ok(())
}

/// The examples of the first optimizer steps; without data, full batches of the longest examples there may be.
fn steps(config: &Config, strong: &model::Config) -> Result<Vec<Vec<Example>>, Error> {
    if config.data.is_none() {
        let example =
            |idx| Example { idx, line: 0, ids: vec![0; config.max_length], trained: vec![true; config.max_length] };
        return Ok(vec![(0..config.batch_size as u64).map(example).collect()]);
    }
    let tokenizer = Tokenizer::open(config.model()?)?;
    let dataset = run::dataset(&mut Report::new(Console::stderr()), config, &tokenizer, strong.vocab)?;
    let order = run::choose_order(config, &dataset.examples, None)?;
    let mut epochs = Epochs::new(order, config.batch_size, config.seed, config.shuffle)?;
    let step = |step| epochs.batch(step).into_iter().map(|i| dataset.examples[i].clone()).collect();
    Ok((0..epochs_looked_at(&dataset.examples, config)).map(step).collect())
}

fn epochs_looked_at(examples: &[Example], config: &Config) -> u64 {
    (examples.len().div_ceil(config.batch_size) as u64).min(32)
}
