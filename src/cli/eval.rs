//! `underdog eval`

use std::sync::atomic::AtomicBool;

use super::{args::EvalArgs, with_device};
use crate::{
    report::{self, count},
    run::{self, Error, Source},
};

pub(super) fn run(args: &EvalArgs, json: bool, stop: &AtomicBool) -> Result<(), Error> {
    let config = args.input.config(Some(&args.device))?;
    let result = with_device(config.device.as_deref(), stop, |context| {
        let source = Source::open(config.model()?)?;
        let dataset = run::dataset(context.report, &config, &source.tokenizer, source.config.vocab)?;
        run::evaluate(context, &config, "eval", &source, &dataset.examples)
    })?;
    if json {
        return Ok(report::json(&result)?);
    }
    let run::Evaluation { loss, perplexity, tokens, samples, exact } = result;
    let (tokens, samples) = (count(tokens), count(samples as u64));
    Ok(report::text(&format!(
        "loss        {loss:.6}\nperplexity  {perplexity:.4}\ntokens      {tokens}\nsamples     {samples}\nexact       {exact} (greedy decoding gives the whole completion)\n"
    ))?)
}
