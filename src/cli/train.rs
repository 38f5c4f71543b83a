//! `underdog train`

use clap::{Args, Command};
use serde_json::json;

use super::{
    verb::{Call, Verb, one_of},
    with_device,
};
use crate::{
    choice::Choice,
    recipes, report,
    session::Error,
    settings::{self, Method, TRAIN},
};

pub(super) const VERB: Verb = Verb {
    about: "Train one phase: plain fine-tuning, or jointly with a weak model",
    help: "\
Examples:
  underdog train --model Qwen3-0.6B --data train.jsonl --out run
  underdog train run.toml --lr 2e-5 --set adamw.beta2=0.95
  underdog train --method mix --model sft --weak Qwen3-0.6B --weights curriculum.jsonl --data train.jsonl --out run",
    arguments,
    ..Verb::new(TRAIN, run)
};

#[derive(Args)]
struct Arguments {
    /// Show where the device's time goes, by kernel, from the third step on; also in profile.json. Slower, the same result
    #[arg(long, help_heading = "Machine")]
    profile: bool,
}

fn arguments(command: Command) -> Command {
    let methods: Vec<_> = Method::ALL.iter().filter(|(method, ..)| *method != Method::Wmss).collect();
    let words: Vec<_> = methods.into_iter().map(|(_, name, means)| (*name, means.trim())).collect();
    Arguments::augment_args(command).mut_arg("method", |flag| flag.value_parser(one_of(&words)))
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let Arguments { profile } = call.arguments()?;
    let config = &call.config;
    if config.method == Method::Wmss {
        return Err(settings::Error::WrongVerb.into());
    }
    let (_model, _data, out) = (config.model()?, config.data()?, config.out()?);
    let trained = with_device(call, |context| {
        context.profile = profile;
        recipes::single(context, config)
    })
    .map_err(|e| e.and("go on with --resume"))?;
    if call.json {
        let loss = trained.and_then(|trained| trained.loss);
        return Ok(report::json(&json!({ "out": out, "loss": loss }))?);
    }
    Ok(report::text(&format!("the trained model is in {}\n", out.display()))?)
}
