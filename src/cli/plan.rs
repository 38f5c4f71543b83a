//! `underdog plan`

use serde_json::json;

use super::verb::{Call, Verb};
use crate::{
    data::{Example, sampler::Epochs, tokenizer::Tokenizer},
    model::{self, config::Parameter},
    platform,
    report::{self, Console, Report, Table, bytes, count},
    session::{self, Error, Limits},
    settings::{Config, PLAN},
    train::planner::{Choice, Costs},
};

/// Bytes that a binding may span on common GPUs; a device with less splits tables, which costs nothing.
const MAX_BINDING: u64 = (2 << 30) - 4;

pub(super) const VERB: Verb = Verb {
    bit: PLAN,
    about: "Print the memory and the micro-batches of a run, without weights or a GPU",
    help: "Takes the flags of the run in question; of the model it reads config.json only.\n\nExample:\n  \
        underdog plan --method mix --model Qwen3-0.6B --max-length 4096 --memory 8GiB",
    needs: &[],
    arguments: |command| command,
    run,
};

fn run(call: &Call<'_>) -> Result<(), Error> {
    let (config, json) = (call.config.clone(), call.json);
    let strong = model::Config::open(config.model()?)?;
    let spec = session::outline(&config, &strong)?;
    let steps = steps(&config, &strong)?;
    let batches: Vec<Vec<&Example>> = steps.iter().map(|step| step.iter().collect()).collect();
    let limits = limits(&config)?;
    let before = session::states_peak(&config, &spec.auxiliaries, &batches, &limits)?;
    let choice = session::arrange(&config, spec, &batches, &limits)?;
    let Choice { spec, plan, .. } = &choice;
    let footprint = plan.footprint();
    let [pass, update] = plan.dispatches();
    let passes = batches.iter().map(|batch| crate::data::pack(batch, spec.tokens).map_or(0, |rows| rows.len()));
    let passes = passes.sum::<usize>() as f64 / batches.len().max(1) as f64;
    let parameters = strong.parameters().iter().map(Parameter::count).sum::<usize>();
    let (costs, recomputed) = (choice.costs()?, choice.recomputed()?);
    if json {
        let line = |(blocks, bytes, slower): &(usize, u64, f64)| json!({ "blocks": blocks, "peak_bytes": bytes, "slower": slower });
        return Ok(report::json(&json!({
            "parameters": parameters,
            "peak_bytes": footprint.total(),
            "available_bytes": config.memory.map_or(limits.available, |size| Some(size.0)),
            "parts": footprint,
            "states_pass_bytes": before,
            "tokens_per_pass": spec.tokens,
            "passes_per_step": passes,
            "recompute": spec.recompute,
            "logits_bytes": spec.logits,
            "costs": costs,
            "recomputed": recomputed.iter().map(line).collect::<Vec<_>>(),
            "dispatches": { "pass": pass, "update": update },
        }))?);
    }
    let mut table = Table::new(["device memory", ""]);
    for (name, size) in footprint.parts().into_iter().chain([("peak", footprint.total())]) {
        table.row([name.to_owned(), bytes(size)]);
    }
    if before > 0 {
        table.row(["before: the pass that makes hidden states".into(), bytes(before)]);
    }
    let mut times = Table::new(["blocks computed twice", "peak", "a step takes"]);
    for (blocks, peak, slower) in &recomputed {
        let mark = if *blocks == spec.recompute { " (chosen)" } else { "" };
        times.row([format!("{blocks}{mark}"), bytes(*peak), format!("+{:.0}%", slower * 100.0)]);
    }
    let available = match (config.memory, limits.available) {
        (Some(given), _) => format!("{} as given", bytes(given.0)),
        (None, Some(there)) => format!("{}: what this device has, less a reserve", bytes(there)),
        (None, None) => "not known, so nothing is held back; say with --memory".into(),
    };
    report::text(&format!(
        "{} parameters, {}{}, {passes:.1} passes a step\nmemory there is: {available}\n\n{}\n{}\n{}",
        count(parameters as u64),
        choice.describe(),
        if spec.streams() { ", layers of the weak model or teacher read in every pass" } else { "" },
        table.render(),
        times.render(),
        told(costs),
    ))?;
    Ok(())
}

/// What was chosen for the sake of memory costs.
fn told(Costs { rows, recompute, logits }: Costs) -> String {
    let lines = [("shorter rows", rows), ("blocks computed twice", recompute), ("fewer logits at a time", logits)];
    let lines = lines.into_iter().filter(|(_, cost)| *cost > 0.0005);
    let lines: Vec<String> = lines.map(|(what, cost)| format!("{what} +{:.1}%", cost * 100.0)).collect();
    match lines.as_slice() {
        [] => "the fastest arrangement fits\n".into(),
        lines => format!("beside the fastest arrangement a step takes longer, by estimate: {}\n", lines.join(", ")),
    }
}

/// Those of the device that a run would take; where memory is given or no device is here, those of common GPUs.
fn limits(config: &Config) -> Result<Limits, Error> {
    let common = Limits { max_binding: MAX_BINDING, ..Limits::default() };
    Ok(match (&config.device, platform::open(config.device.as_deref())) {
        _ if config.memory.is_some() => common,
        (_, Ok(gpu)) => Limits { max_binding: MAX_BINDING, ..Limits::of(&gpu) },
        (None, Err(_)) => common,
        (Some(_), Err(error)) => return Err(error.into()),
    })
}

/// The examples of the first optimizer steps; without data, full batches of the longest examples there may be.
fn steps(config: &Config, strong: &model::Config) -> Result<Vec<Vec<Example>>, Error> {
    if config.data.is_none() {
        let example =
            |idx| Example { idx, line: 0, ids: vec![0; config.max_length], trained: vec![true; config.max_length] };
        return Ok(vec![(0..config.batch_size as u64).map(example).collect()]);
    }
    let tokenizer = Tokenizer::open(config.model()?)?;
    let dataset = session::dataset(&mut Report::new(Console::stderr()), config, &tokenizer, strong.vocab)?;
    let order = session::choose_order(config, &dataset.examples, None)?;
    let mut epochs = Epochs::new(order, config.batch_size, config.seed, config.shuffle)?;
    let step = |step| epochs.batch(step).into_iter().map(|i| dataset.examples[i].clone()).collect();
    Ok((0..epochs_looked_at(&dataset.examples, config)).map(step).collect())
}

fn epochs_looked_at(examples: &[Example], config: &Config) -> u64 {
    (examples.len().div_ceil(config.batch_size) as u64).min(32)
}
