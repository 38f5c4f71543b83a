//! `underdog eval`

use std::sync::atomic::AtomicBool;

use super::{args::EvalArgs, with_device};
use crate::{
    eval::{Task, record::Summary, stats::Interval},
    infer::Sampling,
    recipes,
    recipes::TaskRun,
    report::{self, Table, count},
    session::{self, Error, Source},
    settings::Config,
};

pub(super) fn run(args: &EvalArgs, json: bool, stop: &AtomicBool) -> Result<(), Error> {
    let config = args.config()?;
    if let (Some(task), Some(_)) = (args.task, &args.file) {
        return judge(args, &config, task, json, stop);
    }
    let result = with_device(config.device.as_deref(), stop, |context| {
        let source = Source::of(&config)?;
        let dataset = session::dataset(context.report, &config, &source.tokenizer, source.config.vocab)?;
        session::evaluate(context, &config, "eval", &source, &dataset.examples)
    })?;
    if json {
        return Ok(report::json(&result)?);
    }
    let session::Evaluation { loss, perplexity, tokens, samples, exact } = result;
    let (tokens, samples) = (count(tokens), count(samples as u64));
    Ok(report::text(&format!(
        "loss        {loss:.6}\nperplexity  {perplexity:.4}\ntokens      {tokens}\nsamples     {samples}\nexact       {exact} (greedy decoding gives the whole completion)\n"
    ))?)
}

fn judge(args: &EvalArgs, config: &Config, task: Task, json: bool, stop: &AtomicBool) -> Result<(), Error> {
    if args.samples > 1 && args.temperature == 0.0 {
        let text = "--samples above 1 needs a --temperature above 0: without one all texts of a problem are the same";
        return Err(Error::Usage(text.into()));
    }
    let out = args.out.clone().unwrap_or_else(|| recipes::default_record(task, &args.model));
    let plan = TaskRun {
        task,
        file: args.file.clone().unwrap_or_default(),
        style: args.style,
        shots: args.shots,
        shots_file: args.shots_file.clone(),
        draw_shots: args.draw_shots,
        samples: args.samples as usize,
        sampling: Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p },
        most: args.max_new_tokens as usize,
        limit: args.limit.map(|n| n as usize),
        seed: args.seed,
        out,
        run_code: args.run_code,
        grader: args.grader.clone(),
        seconds: args.time_limit,
    };
    let summary = with_device(config.device.as_deref(), stop, |context| recipes::task(context, config, &plan))
        .map_err(|e| e.and("the same command goes on from there"))?;
    if json {
        return Ok(report::json(&summary)?);
    }
    let shown = plan.out.display();
    Ok(report::text(&format!("{}\n\ntexts and verdicts are in {shown}\n", table(&summary).render().trim_end()))?)
}

fn table(summary: &Summary) -> Table {
    let Summary { task, problems, samples, mean, mean_interval, pass_at_k, correct, wrong, undecided } = summary;
    let percent = |x: f64, Interval { low, high }: Interval| {
        format!("{:.1} % [{:.1}, {:.1}]", 100.0 * x, 100.0 * low, 100.0 * high)
    };
    let mut table = Table::new([task.as_str(), ""]);
    table.row(["problems".into(), count(*problems as u64)]);
    table.row([format!("mean@{samples}"), percent(*mean, *mean_interval)]);
    for at in pass_at_k.iter().filter(|at| at.k > 1) {
        table.row([format!("pass@{}", at.k), percent(at.pass, at.interval)]);
    }
    for (name, number) in [("correct", correct), ("wrong", wrong), ("undecided", undecided)] {
        table.row([name.into(), count(*number as u64)]);
    }
    table
}
