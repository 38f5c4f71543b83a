//! `underdog curriculum`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{
    check_new_file,
    verb::{Call, Verb},
};
use crate::{
    data::curriculum::{Brownboost, Rule, effective_sample_size, from_files, write_curriculum},
    report::{self, count},
    session::Error,
    settings::{CURRICULUM, Curriculum, CurriculumRule},
};

pub(super) const VERB: Verb = Verb {
    about: "Turn two files of entropies into the weights to draw samples by",
    help: "With dH = strong - weak, a sample's weight is\n  alpha * weak / sum weak + beta * [-dH]+ / sum [-dH]+ + \
        gamma * [dH]+ / sum [dH]+\nnormalised. Writes a JSONL row per sample: idx, weight, entropy_weak, entropy_strong.",
    arguments: Arguments::augment_args,
    ..Verb::new(CURRICULUM, run)
};

#[derive(Args)]
struct Arguments {
    /// What `score` wrote of the weak model
    #[arg(long, value_name = "FILE")]
    weak: PathBuf,
    /// What `score` wrote of the strong model
    #[arg(long, value_name = "FILE")]
    strong: PathBuf,
    /// What `score` wrote of the model before the weak one; for brownboost
    #[arg(long, value_name = "FILE")]
    earliest: Option<PathBuf>,
    /// JSONL file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let Arguments { weak, strong, earliest, out } = call.arguments()?;
    check_new_file(&out)?;
    let Curriculum { rule, alpha, beta, gamma, .. } = call.config.curriculum;
    let rule = match rule {
        CurriculumRule::Wmss => Rule::Wmss { alpha, beta, gamma },
        CurriculumRule::Brownboost => Rule::Brownboost(Brownboost::default()),
        CurriculumRule::Uniform => Rule::Uniform,
    };
    let files: Vec<&Path> = earliest.iter().chain([&weak, &strong]).map(PathBuf::as_path).collect();
    let rows = from_files(&rule, &files)?;
    write_curriculum(&out, &rows)?;
    let weights: Vec<f64> = rows.iter().map(|row| row.weight).collect();
    let effective = effective_sample_size(&weights);
    if call.json {
        return Ok(report::json(&json!({ "out": out, "samples": rows.len(), "effective_samples": effective }))?);
    }
    let (out, samples) = (out.display(), count(rows.len() as u64));
    Ok(report::text(&format!("{out}: {samples} samples, which weigh as much as {effective:.1} equal ones\n"))?)
}
