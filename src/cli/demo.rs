//! `underdog demo`

use std::path::PathBuf;

use clap::Args;

use super::{
    verb::{Call, Verb},
    with_device,
};
use crate::{
    recipes,
    report::{self, Table},
    session::Error,
    settings::DEMO,
};

pub(super) const VERB: Verb = Verb {
    bit: DEMO,
    about: "Run the whole method on a tiny model and made-up word problems; needs nothing",
    help: "Briefly pre-trains a model, fine-tunes it once plainly (SFT) and once with a weak model (WMSS), with equal \
        updates, and prints what each reached on problems held out.",
    needs: &[],
    arguments: Arguments::augment_args,
    run,
};

#[derive(Args)]
struct Arguments {
    /// Folder of the run
    #[arg(long, value_name = "DIR", default_value = "underdog-demo")]
    out: PathBuf,
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let Arguments { out } = call.arguments()?;
    let rows = with_device(call, |context| recipes::demo(context, &out, call.config.seed))
        .map_err(|e| e.and("the same command goes on from there"))?;
    if call.json {
        return Ok(report::json(&rows)?);
    }
    let mut table = Table::new(["", "loss", "exact match", "updates"]);
    for row in &rows {
        let exact = format!("{:.1} %", 100.0 * row.exact_match);
        table.row([row.model.clone(), format!("{:.4}", row.loss), exact, row.updates.to_string()]);
    }
    let (problems, out) = (rows.first().map_or(0, |row| row.problems), out.display());
    Ok(report::text(&format!("\n{}\non {problems} held-out problems; the runs are in {out}\n", table.render()))?)
}
