//! `underdog curriculum`

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{args::CurriculumArgs, check_new_file};
use crate::{
    data::curriculum::{Brownboost, Rule, effective_sample_size, from_files, write_curriculum},
    report::{self, count},
    session::Error,
    settings::CurriculumRule,
};

pub(super) fn run(args: &CurriculumArgs, json: bool) -> Result<(), Error> {
    check_new_file(&args.out)?;
    let rule = match args.rule {
        CurriculumRule::Wmss => Rule::Wmss { alpha: args.alpha, beta: args.beta, gamma: args.gamma },
        CurriculumRule::Brownboost => Rule::Brownboost(Brownboost::default()),
        CurriculumRule::Uniform => Rule::Uniform,
    };
    let files: Vec<&Path> = args.earliest.iter().chain([&args.weak, &args.strong]).map(PathBuf::as_path).collect();
    let rows = from_files(&rule, &files)?;
    write_curriculum(&args.out, &rows)?;
    let weights: Vec<f64> = rows.iter().map(|row| row.weight).collect();
    let effective = effective_sample_size(&weights);
    if json {
        return Ok(report::json(&json!({ "out": args.out, "samples": rows.len(), "effective_samples": effective }))?);
    }
    let (out, samples) = (args.out.display(), count(rows.len() as u64));
    Ok(report::text(&format!("{out}: {samples} samples, which weigh as much as {effective:.1} equal ones\n"))?)
}
