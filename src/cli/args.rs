//! The command line as `clap` reads it: verbs, flags and the words that teach them. Nothing runs here.
//!
//! A flag that is also a setting bears its name (`--max-length`, `max_length`) and has no default of its own: the flags
//! are laid over the file and over the defaults of [`crate::settings`], whose values the help shows.

mod bench;
mod merge;
mod run;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;

use crate::eval::{Style, Task};
use crate::settings::{self, Autotune, ByteSize, Config, CurriculumRule, Error, Layers, Overlength, Quantize};

pub use bench::{BenchArgs, BenchVerb};
pub use merge::MergeArgs;
pub use run::{CompareArgs, PlanArgs, RunFlags, Settings, TrainArgs, WmssArgs};

const ABOUT: &str = "Trains language models on any GPU through Vulkan, Metal or DirectX 12";

const LONG_ABOUT: &str = "\
Trains language models on any GPU through Vulkan, Metal or DirectX 12: Hugging Face folders in, Hugging Face folders \
out. Its heart is weak-driven learning (WMSS, arXiv 2602.08222), where an earlier, weaker checkpoint of a model makes \
the model stronger.";

const AFTER_HELP: &str = "\
First steps:
  underdog demo                                  the whole method on a built-in task, nothing needed
  underdog devices                               which GPU would be used, and why
  underdog doctor                                whether this machine computes what it should
  underdog data --model DIR --data FILE          what the model will see of your data
  underdog plan --model DIR                      the memory a run needs, before it runs
  underdog bench                                 how fast this machine trains
  underdog train --model DIR --data FILE --out DIR
  underdog wmss --model DIR --data FILE --out DIR

Data is JSONL: a row has `prompt` and `completion`, or `messages`, or `text`.

Exit codes:
  0    done
  1    failed
  2    a mistake in the command line or the settings
  130  interrupted, after saving";

const RUN_HELP: &str = "\
Settings come from the defaults, then the TOML file, then the flags, then --set; later ones win. A setting is named in \
the file as its flag, with underscores: --max-length 512 is `max_length = 512`. The run's folder holds them all as \
config.toml. Exit codes: 0 done, 1 failed, 2 a mistake in flags or settings, 130 interrupted after saving (go on with \
--resume).";

const TRAIN_HELP: &str = "\
Examples:
  underdog train --model Qwen3-0.6B --data train.jsonl --out run
  underdog train run.toml --lr 2e-5 --set adamw.beta2=0.95
  underdog train --method mix --model sft --weak Qwen3-0.6B --weights curriculum.jsonl --data train.jsonl --out run";

const TASK: &str = "Task";

const EVAL_HELP: &str = "\
Worked examples come from the user's own file: the first N rows of --shots-file. Answers are judged by the last \\boxed{}, \
####, 'the answer is', or the last number; what cannot be decided is counted as such. The same command goes on where it \
was stopped. Code tasks need --run-code and python3; on Linux, bubblewrap or user namespaces.

Examples:
  underdog eval --model strong --data test.jsonl
  underdog eval --model strong --task gsm8k --file test.jsonl --shots-file train.jsonl
  underdog eval --model strong --task humaneval --file HumanEval.jsonl --samples 10 --temperature 0.8 --run-code";

const COMPARE_HELP: &str = "\
Plain fine-tuning of --model (M0) makes M1, once per seed; every arm goes on from M1 for as many updates as another plain \
phase has (or for as much arithmetic, --equal flops), and is measured on --held-out. Kinds of arms:
  sft           plain fine-tuning again; what the others are compared with
  neftune       with noise on embeddings
  undial        towards M1's own logits with lowered targets
  distill       towards --teacher;  self-distill  towards M0
  curriculum    plain, on samples drawn by the entropies of M0 and M1
  mix           jointly with M0, logits mixed
  wmss          jointly with M0, on drawn samples

An arm may have settings of its own, as in mix:lambda=0.7 or wmss:weak_source=shuffled. Its folder below --out is a run of \
`underdog train` with its config.toml. What is finished is kept.

Example:
  underdog compare --model m0 --data train.jsonl --held-out test.jsonl --out study \\
    --arms sft,mix,wmss,wmss:weak_source=uniform --seeds 3";

const WMSS_HELP: &str = "\
Phases: fine-tune the model, score it before and after, weigh the samples, train jointly with the model from before as \
the weak one. A phase already finished in --out is kept.

Examples:
  underdog wmss --model Qwen3-0.6B --data train.jsonl --out run
  underdog wmss run.toml --rounds 2 --freeze-weak";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "underdog", version, about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    /// Print the result as JSON on stdout; progress stays on stderr
    #[arg(long, global = true, display_order = 1000)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the whole method on a tiny model and made-up word problems; needs nothing
    #[command(
        after_help = "Briefly pre-trains a model, fine-tunes it once plainly (SFT) and once with a weak model \
        (WMSS), with equal updates, and prints what each reached on problems held out."
    )]
    Demo(DemoArgs),
    /// List the GPUs, and say which one would be used and why
    Devices(DevicesArgs),
    /// Check in about a minute what this machine can train and how: driver, kernels, number formats, memory
    #[command(after_help = "Prints a report to paste into an issue. Runs on this device do without what is wrong.")]
    Doctor(DevicesArgs),
    /// Make a model folder with random weights
    #[command(after_help = "Example:\n  underdog init --config config.json --tokenizer DIR --seed 1 --out tiny")]
    Init(InitArgs),
    /// Train one phase: plain fine-tuning, or jointly with a weak model
    #[command(after_help = TRAIN_HELP, after_long_help = format!("{TRAIN_HELP}\n\n{RUN_HELP}"))]
    Train(TrainArgs),
    /// Write the predictive entropy and the loss of every sample under a model
    #[command(after_help = "Writes a JSONL row per sample: idx, entropy, loss (nats per completion token), tokens.")]
    Score(ScoreArgs),
    /// Turn two files of entropies into the weights to draw samples by
    #[command(
        after_help = "With dH = strong - weak, a sample's weight is\n  alpha * weak / sum weak + beta * [-dH]+ / \
        sum [-dH]+ + gamma * [dH]+ / sum [dH]+\nnormalised. Writes a JSONL row per sample: idx, weight, entropy_weak, \
        entropy_strong."
    )]
    Curriculum(CurriculumArgs),
    /// Run all phases of weak-driven learning, and write the strong model
    #[command(after_help = WMSS_HELP, after_long_help = format!("{WMSS_HELP}\n\n{RUN_HELP}"))]
    Wmss(WmssArgs),
    /// Run several methods from one start, with equal updates, and say which is better by how much
    #[command(after_help = COMPARE_HELP)]
    Compare(CompareArgs),
    /// Measure a model: loss and perplexity on a file, or what it answers to a published task
    #[command(after_help = EVAL_HELP)]
    Eval(EvalArgs),
    /// Write a model folder of a model and an adapter on it
    #[command(
        after_help = "The sums are made in f32. Example:\n  underdog merge --model Qwen3-0.6B --adapter run --out merged"
    )]
    Merge(MergeArgs),
    /// Write text with a model
    #[command(after_help = "Example:\n  underdog generate --model run --chat --prompt \"What is 17 + 25?\"")]
    Generate(GenerateArgs),
    /// Show what a model will see of a data file: counts, lengths, trained and untrained tokens
    Data(DataArgs),
    /// Measure how fast this GPU trains, and compare machines
    #[command(after_help = bench::HELP)]
    Bench(BenchArgs),
    /// Print the memory and the passes of a run, without weights or a GPU
    #[command(
        after_help = "Takes the flags of the run in question; of the model it reads config.json only.\n\nExample:\n  \
        underdog plan --method mix --model Qwen3-0.6B --max-length 4096 --memory 8GiB"
    )]
    Plan(PlanArgs),
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder of the run
    #[arg(long, value_name = "DIR", default_value = "underdog-demo")]
    pub out: PathBuf,
    /// Where all randomness starts
    #[arg(long, value_name = "N", default_value_t = Config::default().seed)]
    pub seed: u64,
    /// The GPU: its index in `underdog devices`, or a part of its name [default: the best one]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

/// `devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// The GPU asked for: its index, or a part of its name [default: the best one]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

/// `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The model's shape, as a Hugging Face config.json
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Folder whose tokenizer files to copy
    #[arg(long, value_name = "DIR")]
    pub tokenizer: PathBuf,
    /// Where all randomness starts
    #[arg(long, value_name = "N", default_value_t = Config::default().seed)]
    pub seed: u64,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// What every verb that reads data through a model needs.
#[derive(Debug, Args, Serialize)]
pub struct InputFlags {
    /// Hugging Face folder of the model
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// JSONL file
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Longest example in tokens
    #[arg(long, value_name = "N")]
    pub max_length: Option<u64>,
    /// What becomes of longer ones
    #[arg(long, value_name = "HOW")]
    pub overlength: Option<Overlength>,
}

/// Where a verb that computes without training does it.
#[derive(Debug, Args, Serialize)]
pub struct DeviceFlags {
    /// The GPU: its index in `underdog devices`, or a part of its name [default: the best one]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Most device memory to use, as in 8GiB [default: what the device has]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Try kernels on this device and take the fastest: of most of the work, in about 10 s and not on software drivers
    /// (quick), or of all of it (full)
    #[arg(long, value_name = "EFFORT")]
    pub autotune: Option<Autotune>,
}

/// `score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// What to score.
    #[command(flatten)]
    pub input: InputFlags,
    /// Folder of an adapter on the model
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// How the model's matrices are held: as stored, or in 8 or 4 bits
    #[arg(long, value_name = "BITS")]
    pub quantize: Option<Quantize>,
    /// JSONL file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceFlags,
}

/// `curriculum`.
#[derive(Debug, Args)]
pub struct CurriculumArgs {
    /// What `score` wrote of the weak model
    #[arg(long, value_name = "FILE")]
    pub weak: PathBuf,
    /// What `score` wrote of the strong model
    #[arg(long, value_name = "FILE")]
    pub strong: PathBuf,
    /// What `score` wrote of the model before the weak one; for brownboost
    #[arg(long, value_name = "FILE")]
    pub earliest: Option<PathBuf>,
    /// How samples are weighed
    #[arg(long, value_name = "RULE", value_enum, default_value_t = Config::default().curriculum.rule)]
    pub rule: CurriculumRule,
    /// Weight of the weak model's entropy
    #[arg(long, value_name = "X", default_value_t = Config::default().curriculum.alpha)]
    pub alpha: f64,
    /// Weight of entropy that the strong model has lost
    #[arg(long, value_name = "X", default_value_t = Config::default().curriculum.beta)]
    pub beta: f64,
    /// Weight of entropy that the strong model has gained
    #[arg(long, value_name = "X", default_value_t = Config::default().curriculum.gamma)]
    pub gamma: f64,
    /// JSONL file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Hugging Face folder of the model
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Folder of an adapter on it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// How the model's matrices are held, for --data: as stored, or in 8 or 4 bits
    #[arg(long, value_name = "BITS", conflicts_with = "task")]
    pub quantize: Option<Quantize>,
    /// JSONL file of the samples whose loss is measured
    #[arg(long, value_name = "FILE", required_unless_present = "task", conflicts_with = "task")]
    pub data: Option<PathBuf>,
    /// Longest sample in tokens, for --data
    #[arg(long, value_name = "N", conflicts_with = "task")]
    pub max_length: Option<u64>,
    /// What becomes of longer ones, for --data
    #[arg(long, value_name = "HOW", conflicts_with = "task")]
    pub overlength: Option<Overlength>,
    /// A published task: gsm8k, svamp, math500, aime, amc, aqua, mawps, humaneval, mbpp
    #[arg(long, value_name = "TASK", help_heading = TASK, requires = "file")]
    pub task: Option<Task>,
    /// The task's file, JSONL or JSON
    #[arg(long, value_name = "FILE", help_heading = TASK, requires = "task")]
    pub file: Option<PathBuf>,
    /// Where texts and verdicts go, a line per problem [default: TASK-MODEL.jsonl]
    #[arg(long, value_name = "FILE", help_heading = TASK, requires = "task")]
    pub out: Option<PathBuf>,
    /// completion, plain (the bare question), boxed or wmss [default: boxed with a chat template, else completion]
    #[arg(long, value_name = "STYLE", help_heading = TASK, requires = "task")]
    pub style: Option<Style>,
    /// Worked examples before each problem [default: as published]
    #[arg(long, value_name = "N", help_heading = TASK, requires = "task")]
    pub shots: Option<usize>,
    /// The file they are taken from, such as the task's training split
    #[arg(long, value_name = "FILE", help_heading = TASK, requires = "task")]
    pub shots_file: Option<PathBuf>,
    /// Draw them by --seed, instead of taking the first
    #[arg(long, help_heading = TASK, requires = "task")]
    pub draw_shots: bool,
    /// Texts per problem: more than one with a temperature, for pass@k
    #[arg(long, value_name = "K", help_heading = TASK, requires = "task", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub samples: u32,
    /// 0 always takes the likeliest token; higher ones draw more freely
    #[arg(long, value_name = "X", help_heading = TASK, requires = "task", default_value_t = 0.0, value_parser = number_from_zero)]
    pub temperature: f64,
    /// Draw only from the likeliest tokens that make up this share, above 0, up to 1
    #[arg(long, value_name = "X", help_heading = TASK, requires = "task", default_value_t = 1.0, value_parser = share)]
    pub top_p: f64,
    /// Draw only from so many likeliest tokens; 0 from all
    #[arg(long, value_name = "N", help_heading = TASK, requires = "task", default_value_t = 0)]
    pub top_k: usize,
    /// Stop a text after so many tokens
    #[arg(long, value_name = "N", help_heading = TASK, requires = "task", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// Only the first problems
    #[arg(long, value_name = "N", help_heading = TASK, requires = "task", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Where all randomness starts
    #[arg(long, value_name = "N", help_heading = TASK, requires = "task", default_value_t = Config::default().seed)]
    pub seed: u64,
    /// Consent to running the programs that the model writes, shut in
    #[arg(long, help_heading = TASK, requires = "task")]
    pub run_code: bool,
    /// A command that judges answers: a JSON line on its stdin, {"correct": true} or false on its stdout
    #[arg(long, value_name = "COMMAND", help_heading = TASK, requires = "task")]
    pub grader: Option<String>,
    /// Seconds that a program or the grader may take
    #[arg(long, value_name = "N", help_heading = TASK, requires = "task", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub time_limit: u32,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceFlags,
}

/// The flags of `eval` that are settings.
#[derive(Serialize)]
struct EvalSettings<'a> {
    model: &'a PathBuf,
    data: &'a Option<PathBuf>,
    max_length: Option<u64>,
    overlength: Option<Overlength>,
}

/// `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Hugging Face folder of the model
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Folder of an adapter on it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Text to go on from
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// Give the prompt as a user's turn, through the model's chat template
    #[arg(long)]
    pub chat: bool,
    /// Stop after so many tokens, if not at the end of the text
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// 0 always takes the likeliest token; higher ones draw more freely
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = number_from_zero)]
    pub temperature: f64,
    /// Draw only from the likeliest tokens that make up this share, above 0, up to 1
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = share)]
    pub top_p: f64,
    /// Draw only from so many likeliest tokens; 0 from all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top_k: usize,
    /// Where all randomness starts
    #[arg(long, value_name = "N", default_value_t = Config::default().seed)]
    pub seed: u64,
    /// The GPU: its index in `underdog devices`, or a part of its name [default: the best one]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Try kernels on this device and take the fastest: of most of the work, in about 10 s and not on software drivers
    /// (quick), or of all of it (full)
    #[arg(long, value_name = "EFFORT")]
    pub autotune: Option<Autotune>,
}

/// `data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// What to show.
    #[command(flatten)]
    pub input: InputFlags,
    /// Examples to preview; --json gives them all
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub preview: usize,
}

impl Cli {
    /// Reads the command line of this process; prints help, version or a usage error and exits where one is due.
    pub fn read() -> Self {
        Self::try_read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads these arguments, the first of which is the program's name.
    ///
    /// # Errors
    /// What is to be printed instead: a usage error, help or the version.
    pub fn try_read(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&command().try_get_matches_from(args)?)
    }
}

impl InputFlags {
    /// The settings that these flags make, with defaults for all others.
    ///
    /// # Errors
    /// See [`Layers`].
    pub fn config(&self, device: Option<&DeviceFlags>) -> Result<Config, Error> {
        let mut layers = Layers::new();
        layers.flags(self)?;
        device.into_iter().try_for_each(|device| layers.flags(device))?;
        layers.resolve()
    }
}

impl EvalArgs {
    /// The settings that these flags make, with defaults for all others.
    ///
    /// # Errors
    /// See [`Layers`].
    pub fn config(&self) -> Result<Config, Error> {
        let Self { model, data, max_length, overlength, device, .. } = self;
        let mut layers = Layers::new();
        layers.flags(&EvalSettings { model, data, max_length: *max_length, overlength: *overlength })?;
        layers.flags(device)?;
        let base = layers.resolve()?;
        let quantize = self.quantize.unwrap_or(base.quantize);
        Ok(Config { adapter: self.adapter.clone(), quantize, ..base })
    }
}

/// All verbs and flags, with the defaults of the settings in the help of their flags.
fn command() -> Command {
    let with_default = |arg: Arg| {
        let is_setting =
            arg.get_action().takes_values() && !arg.is_required_set() && arg.get_default_values().is_empty();
        let default = settings::default_of(arg.get_id().as_str()).filter(|_| is_setting);
        match (default, arg.get_help().map(ToString::to_string)) {
            (Some(default), Some(help)) => arg.help(format!("{help} [default: {default}]")),
            _ => arg,
        }
    };
    Cli::command().mut_subcommands(|verb| verb.mut_args(with_default))
}

fn number_from_zero(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_finite() && number >= 0.0 { Ok(number) } else { Err("must be 0 or more".to_owned()) }
}

fn share(text: &str) -> Result<f64, String> {
    let number = number_from_zero(text)?;
    if number > 0.0 && number <= 1.0 { Ok(number) } else { Err("must be above 0 and at most 1".to_owned()) }
}

#[cfg(test)]
mod tests;
