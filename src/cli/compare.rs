//! `underdog compare`

use std::path::PathBuf;

use clap::Args;

use super::{
    verb::{Call, Verb},
    with_device,
};
use crate::{
    recipes::{self, Arm, Equal},
    report,
    session::Error,
    settings::{COMPARE, Config, Method},
};

pub(super) const VERB: Verb = Verb {
    about: "Run several methods from one start, with equal updates, and say which is better by how much",
    help: "\
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
    --arms sft,mix,wmss,wmss:weak_source=uniform --seeds 3",
    arguments: Arguments::augment_args,
    ..Verb::new(COMPARE, run)
};

#[derive(Args)]
struct Arguments {
    /// The arms, each KIND[:key=value...]
    #[arg(long, value_name = "LIST", default_value = "sft,neftune,undial,curriculum,mix,wmss")]
    arms: String,
    /// Runs of every arm, from --seed on
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// What is the same for all arms
    #[arg(long, value_name = "WHAT", value_enum, default_value = "updates")]
    equal: Equal,
    /// Hugging Face folder of the teacher, for distill
    #[arg(long, value_name = "DIR")]
    teacher: Option<PathBuf>,
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let Arguments { arms, seeds, equal, teacher } = call.arguments()?;
    // Settings that only some kinds of arms have come with the arms.
    let config = Config {
        method: Method::Sft,
        weak: Vec::new(),
        weak_share: Vec::new(),
        candidate: Vec::new(),
        weights: None,
        teacher: teacher.or(call.config.teacher.clone()),
        ..call.config.clone()
    };
    let (_model, _data, out, _held_out) = (config.model()?, config.data()?, config.out()?, config.held_out()?);
    let arms = Arm::list(&arms)?;
    let comparison = with_device(call, |context| recipes::compare(context, &config, &arms, seeds, equal))
        .map_err(|e| e.and("the same command goes on from there"))?;
    if call.json {
        return Ok(report::json(&comparison)?);
    }
    Ok(report::text(&format!("{}\ntables are in {}\n", comparison.markdown(), out.display()))?)
}
