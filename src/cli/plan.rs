//! `underdog plan`

use serde_json::json;

use super::verb::{Call, Verb};
use crate::{
    data::{Example, sampler::Order, tokenizer::Tokenizer},
    gpu::Gpu,
    model::config::Parameter,
    platform,
    report::{self, Console, Report, Table, bytes, count},
    session::{self, Error, Limits, Session},
    settings::{Config, PLAN},
    train::planner::Costs,
};

pub(super) const VERB: Verb = Verb {
    about: "Print the memory and the micro-batches of a run, without weights or a GPU",
    help: "Takes the flags of the run in question, and says what it takes to the byte where its data and weights are here; of a \
        model without weights it reads config.json only.\n\nExample:\n  \
        underdog plan --method mix --model Qwen3-0.6B --max-length 4096 --memory 8GiB",
    ..Verb::new(PLAN, run)
};

fn run(call: &Call<'_>) -> Result<(), Error> {
    let (config, json) = (call.config.clone(), call.json);
    let (main, _) = session::shape(config.model()?)?;
    let spec = session::outline(&config, &main)?;
    let (examples, order) = data(&config, main.vocab)?;
    let (mut epochs, steps) = session::epochs(&config, order)?;
    let gpu = device(&config)?;
    if let Some(gpu) = &gpu {
        session::half(&config, gpu)?;
    }
    let limits = Limits::of(gpu.as_ref());
    let seen = session::seen(&config, &examples, &mut epochs, steps);
    let before = session::cache_peak(&config, &spec, &seen, &limits, None)?;
    let session = Session::train(&config, spec, &examples, &mut epochs, steps);
    let planned = session.plan(&limits)?;
    let (choice, passes) = (&planned.choice, session.passes(&planned));
    let footprint = choice.plan.footprint();
    let [pass, update] = choice.plan.dispatches();
    let parameters = main.parameters().iter().map(Parameter::count).sum::<usize>();
    let (costs, recomputed) = (choice.costs()?, choice.recomputed()?);
    if json {
        let line = |(blocks, bytes, slower): &(usize, u64, f64)| json!({ "blocks": blocks, "peak_bytes": bytes, "slower": slower });
        return Ok(report::json(&json!({
            "parameters": parameters,
            "peak_bytes": footprint.total(),
            "available_bytes": limits.memory(&config),
            "parts": footprint,
            "states_pass_bytes": before,
            "tokens_per_pass": choice.spec.tokens,
            "passes_per_step": passes,
            "recompute": choice.spec.recompute,
            "logits_bytes": choice.spec.logits,
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
        let mark = if *blocks == choice.spec.recompute { " (chosen)" } else { "" };
        times.row([format!("{blocks}{mark}"), bytes(*peak), format!("+{:.0}%", slower * 100.0)]);
    }
    let available = match (config.memory, limits.available) {
        (Some(given), _) => format!("{} as given", bytes(given.0)),
        (None, Some(there)) => format!("{}: what this device has, less a reserve", bytes(there)),
        (None, None) => "not known, so nothing is held back; say with --memory".into(),
    };
    Ok(report::text(&format!(
        "{} parameters, {}, {passes:.1} passes a step\nmemory there is: {available}\n\n{}\n{}\n{}",
        count(parameters as u64),
        planned.describe(),
        table.render(),
        times.render(),
        describe(costs),
    ))?)
}

/// What was chosen for the sake of memory costs.
fn describe(Costs { rows, recompute, logits }: Costs) -> String {
    let lines = [("shorter rows", rows), ("blocks computed twice", recompute), ("fewer logits at a time", logits)];
    let lines = lines.into_iter().filter(|(_, cost)| *cost > 0.0005);
    let lines: Vec<String> = lines.map(|(what, cost)| format!("{what} +{:.1}%", cost * 100.0)).collect();
    match lines.as_slice() {
        [] => "the fastest arrangement fits\n".into(),
        lines => format!("beside the fastest arrangement a step takes longer, by estimate: {}\n", lines.join(", ")),
    }
}

/// The device that a run would take, if there is one.
fn device(config: &Config) -> Result<Option<Gpu>, Error> {
    match (&config.device, platform::open(config.device.as_deref())) {
        (_, Ok(gpu)) => Ok(Some(gpu)),
        (None, Err(_)) => Ok(None),
        (Some(_), Err(error)) => Err(error.into()),
    }
}

/// The examples of a run and which of them make an epoch; without data, a step of the longest examples there may be.
fn data(config: &Config, vocab: usize) -> Result<(Vec<Example>, Order), Error> {
    let Some(_) = &config.data else {
        let (ids, trained) = (vec![0; config.max_length], vec![true; config.max_length]);
        let examples = (0..config.batch_size as u64).map(|idx| Example {
            idx,
            line: 0,
            ids: ids.clone(),
            trained: trained.clone(),
        });
        return Ok((examples.collect(), Order::All(config.batch_size)));
    };
    let tokenizer = Tokenizer::open(config.model()?)?;
    let examples = session::dataset(&mut Report::new(Console::stderr()), config, &tokenizer, vocab)?.examples;
    let order = session::order(config, &examples)?;
    Ok((examples, order))
}
