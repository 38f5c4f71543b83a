//! `underdog generate`

use std::{io::IsTerminal, sync::atomic::Ordering};

use clap::Args;
use serde_json::json;

use super::verb::{Call, Verb};
use crate::{
    data::{
        template::{Chat, Moment},
        tokenizer::Tokenizer,
    },
    infer::{Next, Request, Sampling},
    platform,
    report::{self, Console, Report},
    session::{self, Context, Error, Source},
    settings::{self, GENERATE},
};

pub(super) const VERB: Verb = Verb {
    about: "Write text with a model",
    help: "Example:\n  underdog generate --model run --chat --prompt \"What is 17 + 25?\"",
    needs: &["model"],
    arguments: Arguments::augment_args,
    ..Verb::new(GENERATE, run)
};

#[derive(Args)]
struct Arguments {
    /// Text to go on from
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Give the prompt as a user's turn, through the model's chat template
    #[arg(long)]
    chat: bool,
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let args: Arguments = call.arguments()?;
    let (config, json, stop) = (&call.config, call.json, call.stop);
    let source = Source::of(config)?;
    let tokenizer = &source.tokenizer;
    let prompt = prompt(&args, tokenizer)?;
    let vocab = source.config.vocab;
    if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab) {
        return Err(Error::User(format!("the tokenizer gives token {id}, the model has {vocab} of them")));
    }
    let gpu = platform::open(config.device.as_deref())?;
    let mut report = Report::new(Console::stderr());
    let mut context = Context { gpu: &gpu, report: &mut report, stop, profile: false };
    let most = config.generate.max_new_tokens as usize;
    let mut slots = session::slots(&mut context, config, &source, 1, prompt.len() + most)?;
    let settings::Sampling { temperature, top_k, top_p } = config.sampling;
    let sampling = Sampling { temperature, top_k, top_p };
    let ends = tokenizer.eos_ids();
    // People watch the text grow; whoever reads a pipe gets the same bytes.
    let live = !json && std::io::stdout().is_terminal();
    let mut stream = tokenizer.stream(true);
    let mut failed = None;
    let request = Request { prompt, seed: config.seed, sampling, most };
    let written = slots.generate(&[request], ends, |_, token| {
        if live && !ends.contains(&token) {
            let shown = stream.push(token).map_err(Error::from).and_then(|text| show(&text));
            failed = failed.take().or(shown.err());
        }
        if failed.is_none() && !stop.load(Ordering::Relaxed) { Next::More } else { Next::Stop }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let mut ids = written.into_iter().next().unwrap_or_default();
    let ended = ids.last().is_some_and(|id| ends.contains(id));
    if ended {
        ids.pop();
    }
    if json {
        let text = tokenizer.decode(&ids, true)?;
        report::json(&json!({ "text": text, "ids": ids, "ended": ended }))?;
    } else {
        let rest = if live { stream.finish()? } else { tokenizer.decode(&ids, true)? };
        show(&rest)?;
        report::text("\n")?;
    }
    match stop.load(Ordering::Relaxed) {
        true => Err(Error::Interrupted(String::new())),
        false => Ok(()),
    }
}

fn show(text: &str) -> Result<(), Error> {
    Ok(report::text(&report::printable(text))?)
}

fn prompt(args: &Arguments, tokenizer: &Tokenizer) -> Result<Vec<u32>, Error> {
    let ids = if args.chat {
        let messages = [json!({ "role": "user", "content": args.prompt })];
        let chat =
            Chat { messages: &messages, tools: None, add_generation_prompt: true, extra: None, now: Moment::now() };
        let rendered = tokenizer.chat_template(false)?.render(chat)?;
        tokenizer.encode(&rendered.text, false)?
    } else {
        tokenizer.encode_prefix(&args.prompt)?
    };
    match ids.is_empty() {
        true => Err(Error::User("the prompt has no tokens; give at least one word with --prompt".into())),
        false => Ok(ids),
    }
}
