//! `underdog eval`

use std::path::PathBuf;

use clap::{Args, Command};

use super::{
    verb::{Call, Verb},
    with_device,
};
use crate::{
    eval::{Style, Task, record::Summary, stats::Interval},
    infer::Sampling,
    recipes::{self, TaskRun},
    report::{self, Table, count},
    session::{self, Error, Source},
    settings::{self, EVAL},
};

pub(super) const VERB: Verb = Verb {
    about: "Measure a model: loss and perplexity on a file, or what it answers to a published task",
    help: "\
Worked examples come from the user's own file: the first N rows of --shots-file. Answers are judged by the last \\boxed{}, \
####, 'the answer is', or the last number; what cannot be decided is counted as such. The same command goes on where it \
was stopped. Code tasks need --run-code and python3; on Linux, bubblewrap or user namespaces.

Examples:
  underdog eval --model strong --data test.jsonl
  underdog eval --model strong --task gsm8k --file test.jsonl --shots-file train.jsonl
  underdog eval --model strong --task humaneval --file HumanEval.jsonl --samples 10 --temperature 0.8 --run-code",
    needs: &["model"],
    arguments,
    ..Verb::new(EVAL, run)
};

const TASK: &str = "Task";
/// Settings that go with --data and with --task.
const OF_BOTH: &[&str] = &["model", "adapter", "device", "memory", "autotune"];

#[derive(Args)]
struct Arguments {
    /// A published task: gsm8k, svamp, math500, aime, amc, aqua, mawps, humaneval, mbpp
    #[arg(long, value_name = "TASK", help_heading = TASK, display_order = 0, requires = "file")]
    task: Option<Task>,
    /// The task's file, JSONL or JSON
    #[arg(long, value_name = "FILE", help_heading = TASK, display_order = 0, requires = "task")]
    file: Option<PathBuf>,
    /// Where texts and verdicts go, a line per problem [default: TASK-MODEL.jsonl]
    #[arg(long, value_name = "FILE", help_heading = TASK, display_order = 0, requires = "task")]
    out: Option<PathBuf>,
    /// completion, plain (the bare question), boxed or wmss [default: boxed with a chat template, else completion]
    #[arg(long, value_name = "STYLE", help_heading = TASK, display_order = 0, requires = "task")]
    style: Option<Style>,
    /// The file that worked examples are taken from, such as the task's training split
    #[arg(long, value_name = "FILE", help_heading = TASK, display_order = 0, requires = "task")]
    shots_file: Option<PathBuf>,
    /// Draw worked examples by --seed, instead of taking the first
    #[arg(long, help_heading = TASK, display_order = 0, requires = "task")]
    draw_shots: bool,
    /// Consent to running the programs that the model writes, shut in
    #[arg(long, help_heading = TASK, display_order = 0, requires = "task")]
    run_code: bool,
    /// A command that judges answers: a JSON line on its stdin, {"correct": true} or false on its stdout
    #[arg(long, value_name = "COMMAND", help_heading = TASK, display_order = 0, requires = "task")]
    grader: Option<String>,
}

fn arguments(command: Command) -> Command {
    let command = command.mut_args(|flag| match flag.get_id().as_str() {
        "data" => flag.required_unless_present("task").conflicts_with("task"),
        id if OF_BOTH.contains(&id) => flag,
        id if id == "seed" || id.contains('.') => flag.help_heading(TASK).requires("task"),
        _ => flag.conflicts_with("task"),
    });
    Arguments::augment_args(command)
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let arguments: Arguments = call.arguments()?;
    if let (Some(task), Some(file)) = (arguments.task, &arguments.file) {
        return judge(call, &arguments, task, file.clone());
    }
    let config = &call.config;
    let result = with_device(call, |context| {
        let source = Source::of(config)?;
        let dataset = session::dataset(context.report, config, &source.tokenizer, source.config.vocab)?;
        session::evaluate(context, config, "eval", &source, &dataset.examples)
    })?;
    if call.json {
        return Ok(report::json(&result)?);
    }
    let session::Evaluation { loss, perplexity, tokens, samples, exact } = result;
    let (tokens, samples) = (count(tokens), count(samples as u64));
    Ok(report::text(&format!(
        "loss        {loss:.6}\nperplexity  {perplexity:.4}\ntokens      {tokens}\nsamples     {samples}\nexact       {exact} (greedy decoding gives the whole completion)\n"
    ))?)
}

fn judge(call: &Call<'_>, arguments: &Arguments, task: Task, file: PathBuf) -> Result<(), Error> {
    let config = &call.config;
    if config.task.samples > 1 && config.sampling.temperature == 0.0 {
        let text = "--samples above 1 needs a --temperature above 0: without one all texts of a problem are the same";
        return Err(Error::Usage(text.into()));
    }
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => recipes::default_record(task, config.model()?),
    };
    let settings::Sampling { temperature, top_k, top_p } = config.sampling;
    let plan = TaskRun {
        task,
        file,
        style: arguments.style,
        shots: config.task.shots,
        shots_file: arguments.shots_file.clone(),
        draw_shots: arguments.draw_shots,
        samples: config.task.samples as usize,
        sampling: Sampling { temperature, top_k, top_p },
        most: config.task.max_new_tokens as usize,
        limit: config.task.limit.map(|n| n as usize),
        seed: config.seed,
        out,
        run_code: arguments.run_code,
        grader: arguments.grader.clone(),
        seconds: config.task.time_limit,
    };
    let summary = with_device(call, |context| recipes::task(context, config, &plan))
        .map_err(|e| e.and("the same command goes on from there"))?;
    if call.json {
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
