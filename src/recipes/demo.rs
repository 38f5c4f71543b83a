//! The whole method on a built-in task: a tiny Qwen3-shaped model and generated word problems, from a seed, no files needed.
//! The device is measured first, and model and data are sized so that all of it takes about a minute and a half. Plain
//! fine-tuning gets as many optimizer updates as all of weak-driven learning, and whichever is better is shown.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::wmss;
use crate::{
    data::{
        arithmetic::{CHAT_TEMPLATE, Problem, Split, problems, tokenizer_config, tokenizer_json},
        sampler::Order,
        tokenizer::Tokenizer,
    },
    report::{Event, count, curves, duration},
    session::{self, Context, Directory, Error, Models, Source, Training},
    settings::{self, Config},
};

/// A model and what it reached on the held-out problems.
#[derive(Clone, Debug, Serialize)]
pub struct DemoRow {
    /// `M0`, `SFT` or `WMSS`.
    pub model: String,
    /// Nats per target token.
    pub loss: f64,
    /// Share of problems whose whole worked answer greedy decoding gets right.
    pub exact_match: f64,
    /// Optimizer updates since M0.
    pub updates: u64,
    /// Held-out problems.
    pub problems: usize,
}

/// What the demonstration found.
#[derive(Clone, Debug)]
pub struct Demo {
    /// One for each model.
    pub rows: Vec<DemoRow>,
    /// The losses of both ways of training, drawn.
    pub picture: String,
}

/// Seconds that all training and scoring should take.
const SECONDS: f64 = 80.0;
/// Problems that are trained on: fewer teach nothing, more are not needed.
const PROBLEMS: [f64; 2] = [320.0, 4096.0];
/// Held-out problems.
const HELD_OUT: usize = 192;
/// Steps by which the device is measured, and how many of them come first, while kernels are compiled and tried.
const MEASURED: [u64; 2] = [14, 4];
/// Passes over the training problems in all: forward and backward is one, forward alone a third. Pre-training one, SFT two, WMSS
/// one of SFT, two thirds of scoring, two of joint training.
const PASSES: f64 = 1.0 + 2.0 + (1.0 + 2.0 / 3.0 + 2.0);
/// Passes over the held-out problems: forward alone, of three models.
const EVALUATIONS: f64 = 1.0;
/// Models to choose from, the smallest first.
const SHAPES: [Shape; 4] = [
    Shape { hidden: 64, layers: 2, batch: 4, lr: 5e-3 },
    Shape { hidden: 128, layers: 3, batch: 8, lr: 3e-3 },
    Shape { hidden: 256, layers: 4, batch: 8, lr: 2e-3 },
    Shape { hidden: 512, layers: 6, batch: 16, lr: 1e-3 },
];
/// What was chosen, so that a run that was stopped goes on with it.
const CHOSEN: &str = "size.json";

/// A model, and how it is trained.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Shape {
    hidden: usize,
    layers: usize,
    batch: usize,
    lr: f64,
}

/// A model and the number of problems for each phase.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Size {
    shape: Shape,
    problems: usize,
}

/// Measures the device, pre-trains M0, then fine-tunes it plainly and by weak-driven learning with equal updates.
///
/// # Errors
/// If `out` holds something else, or whatever stops a phase.
pub fn demo(context: &mut Context<'_>, out: &Path, seed: u64) -> Result<Demo, Error> {
    prepare(out)?;
    let size = match fs::read_to_string(out.join(CHOSEN)).ok().and_then(|text| serde_json::from_str(&text).ok()) {
        Some(size) => size,
        None => choose(context, out, seed)?,
    };
    let Size { shape, problems } = size;
    let updates = (problems / shape.batch) as u64;
    note(context, "M0: a model with random weights learns one set of problems. What follows starts from it.")?;
    let m0 = train(context, &settings(out, "M0", "pretrain.jsonl", size, seed), &init(out, shape, seed)?)?;
    note(context, "SFT: plain fine-tuning of M0 on new problems, twice through them.")?;
    let plain = Config { epochs: 2, ..settings(out, "SFT", "train.jsonl", size, seed) };
    let sft = train(context, &plain, &m0)?;
    let why = "WMSS: the same problems and as many updates. Fine-tune M0 once, score every problem by both models, draw those whose \
               entropy moved, and train both with their logits mixed. The strong one is kept.";
    note(context, why)?;
    let driven = Config {
        model: Some(m0.path.clone()),
        method: settings::Method::Wmss,
        ..settings(out, "WMSS", "train.jsonl", size, seed)
    };
    wmss(context, &driven)?;
    let strong = Source::open(&out.join("WMSS"))?;

    let held_out = settings(out, "eval", "held_out.jsonl", size, seed);
    let dataset = session::dataset(context.report, &held_out, &m0.tokenizer, m0.config.vocab)?;
    let mut rows = Vec::new();
    for (name, source, updates) in [("M0", &m0, 0), ("SFT", &sft, 2 * updates), ("WMSS", &strong, 2 * updates)] {
        let found = session::evaluate(context, &held_out, &format!("eval {name}"), source, &dataset.examples)?;
        rows.push(DemoRow {
            model: name.into(),
            loss: found.loss,
            exact_match: found.exact as f64 / found.samples as f64,
            updates,
            problems: found.samples,
        });
    }
    let losses = |folders: &[&str]| -> Result<Vec<f64>, Error> {
        let steps = folders.iter().map(|folder| steps(&out.join(folder)));
        Ok(steps
            .collect::<Result<Vec<_>, _>>()?
            .concat()
            .into_iter()
            .map(|step| step.loss.unwrap_or(f64::NAN))
            .collect())
    };
    let both =
        [("SFT", losses(&["SFT"])?), ("WMSS (second half: mixed logits)", losses(&["WMSS/1-sft", "WMSS/4-mix"])?)];
    Ok(Demo { rows, picture: curves("training loss, nats a token", "updates", &both) })
}

fn note(context: &mut Context<'_>, text: &str) -> Result<(), Error> {
    Ok(context.report.event(&Event::Note(text))?)
}

/// The settings of a phase.
fn settings(out: &Path, name: &str, data: &str, Size { shape, .. }: Size, seed: u64) -> Config {
    Config {
        data: Some(out.join(data)),
        out: Some(out.join(name)),
        batch_size: shape.batch,
        epochs: 1,
        lr: shape.lr,
        warmup: 0.1,
        max_length: 256,
        dtype: settings::Dtype::F32,
        seed,
        ..Config::default()
    }
}

/// Trains a phase, unless it is finished.
fn train(context: &mut Context<'_>, config: &Config, from: &Source) -> Result<Source, Error> {
    let to = config.out()?;
    if !to.join("config.json").exists() {
        let dataset = session::dataset(context.report, config, &from.tokenizer, from.config.vocab)?;
        let order = Order::All(dataset.examples.len());
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let (main, models, examples) = (from, &Models::plain(), &dataset.examples);
        let (name, out, dtype) = (&*name, to, config.dtype);
        let mut directory = Directory::open(config, true, &[])?;
        Training { config, name, main, models, examples, order, out, dtype }.run(context, &mut directory)?;
    }
    Source::open(to)
}

/// Trains models for a few steps, the smallest first, until the next larger one would take too long; writes the data that fits.
fn choose(context: &mut Context<'_>, out: &Path, seed: u64) -> Result<Size, Error> {
    let mut best: Option<(Size, f64)> = None;
    for shape in SHAPES {
        let few = Size { shape, problems: MEASURED[0] as usize * shape.batch };
        write(out, "measure.jsonl", &jsonl(problems(seed ^ 2, few.problems, Split::Train)))?;
        let name = format!("measure-{}", shape.hidden);
        train(context, &settings(out, &name, "measure.jsonl", few, seed), &init(out, shape, seed)?)?;
        let steps = steps(&out.join(&name))?;
        let timed = &steps[steps.len().min(MEASURED[1] as usize)..];
        let each = timed.iter().map(|step| step.seconds).sum::<f64>() / (timed.len().max(1) * shape.batch) as f64;
        let fits = (SECONDS / each - EVALUATIONS * HELD_OUT as f64) / PASSES;
        if best.is_some() && fits < PROBLEMS[1] / 2.0 {
            break;
        }
        let problems = fits.clamp(PROBLEMS[0], PROBLEMS[1]) as usize / shape.batch * shape.batch;
        best = Some((Size { shape, problems }, each));
        if fits < PROBLEMS[1] {
            break;
        }
    }
    let Some((size, each)) = best else { return Err(Error::User("no model to choose from".into())) };
    for (name, seed, split, problems_of) in [
        ("pretrain.jsonl", seed ^ 1, Split::Train, size.problems),
        ("train.jsonl", seed, Split::Train, size.problems),
        ("held_out.jsonl", seed, Split::HeldOut, HELD_OUT),
    ] {
        write(out, name, &jsonl(problems(seed, problems_of, split)))?;
    }
    write(out, CHOSEN, &json!(size).to_string())?;
    let Shape { hidden, layers, .. } = size.shape;
    let takes = each * (PASSES * size.problems as f64 + EVALUATIONS * HELD_OUT as f64);
    let text = format!(
        "this device trains on {:.0} problems a second, so: {layers} layers of {hidden}, {} problems a phase, about {} in all",
        1.0 / each,
        count(size.problems as u64),
        duration(takes)
    );
    note(context, &text)?;
    Ok(size)
}

/// A step as a run's metrics have it.
#[derive(Clone, Copy, Deserialize)]
struct Step {
    loss: Option<f64>,
    seconds: f64,
}

/// The steps of a finished phase.
fn steps(folder: &Path) -> Result<Vec<Step>, Error> {
    let path = folder.join("metrics.jsonl");
    let failed = |e: &dyn std::fmt::Display| Error::User(format!("{}: {e}", path.display()));
    let text = fs::read_to_string(&path).map_err(|e| failed(&e))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|e| failed(&e))).collect()
}

fn jsonl(problems: Vec<Problem>) -> String {
    let row = |p: Problem| json!({ "prompt": p.prompt, "completion": p.completion }).to_string() + "\n";
    problems.into_iter().map(row).collect()
}

/// Writes a file, unless another stands there.
fn write(out: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = out.join(name);
    if path.exists() && !name.starts_with("measure") && fs::read_to_string(&path).is_ok_and(|was| was != text) {
        return Err(Error::User(format!("{} is there and differs; choose another --out", path.display())));
    }
    fs::write(&path, text).map_err(|e| Error::User(format!("{}: {e}", path.display())))
}

/// The tokenizer.
fn prepare(out: &Path) -> Result<(), Error> {
    let tokenizer = out.join("tokenizer");
    fs::create_dir_all(&tokenizer).map_err(|e| Error::User(format!("{}: {e}", tokenizer.display())))?;
    write(&tokenizer, "tokenizer.json", &tokenizer_json())?;
    write(&tokenizer, "tokenizer_config.json", &tokenizer_config())?;
    write(&tokenizer, "chat_template.jinja", CHAT_TEMPLATE)
}

/// A model of the shape with random weights.
fn init(out: &Path, shape: Shape, seed: u64) -> Result<Source, Error> {
    let tokenizer = out.join("tokenizer");
    let to = out.join(format!("init-{}", shape.hidden));
    if !to.join("config.json").exists() {
        let heads = shape.hidden / 32 + usize::from(shape.hidden < 128) * 2;
        let config_json = json!({
            "model_type": "qwen3",
            "architectures": ["Qwen3ForCausalLM"],
            "vocab_size": Tokenizer::open(&tokenizer)?.vocab_size(),
            "hidden_size": shape.hidden,
            "intermediate_size": 3 * shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads / 2,
            "head_dim": shape.hidden / heads,
            "tie_word_embeddings": true,
            "max_position_embeddings": 256,
            "rope_theta": 10000.0,
            "initializer_range": 0.64 / (shape.hidden as f64).sqrt(),
        });
        super::init(&config_json.to_string(), &to, &tokenizer, seed, &to)?;
    }
    Source::open(&to)
}
