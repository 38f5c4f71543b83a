//! `underdog curriculum`

use serde_json::json;

use super::{args::CurriculumArgs, check_new_file};
use crate::{
    curriculum::{effective_sample_size, from_files, write_curriculum},
    report::{self, count},
    run::Error,
};

pub(super) fn run(args: &CurriculumArgs, json: bool) -> Result<(), Error> {
    check_new_file(&args.out)?;
    let rows = from_files(&args.weak, &args.strong, args.alpha, args.beta, args.gamma)?;
    write_curriculum(&args.out, &rows)?;
    let weights: Vec<f64> = rows.iter().map(|row| row.weight).collect();
    let effective = effective_sample_size(&weights);
    if json {
        return Ok(report::json(&json!({ "out": args.out, "samples": rows.len(), "effective_samples": effective }))?);
    }
    let (out, samples) = (args.out.display(), count(rows.len() as u64));
    Ok(report::text(&format!("{out}: {samples} samples, which weigh as much as {effective:.1} equal ones\n"))?)
}
