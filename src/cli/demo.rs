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
    about: "Run the whole method on a tiny model and made-up word problems; needs nothing",
    help: "Measures the device, sizes a model to it, pre-trains that briefly, fine-tunes it once plainly (SFT) and once with a \
        weak model (WMSS), with equal updates, draws both losses, and prints what each reached on problems held out.",
    arguments: Arguments::augment_args,
    ..Verb::new(DEMO, run)
};

#[derive(Args)]
struct Arguments {
    /// Folder of the run
    #[arg(long, value_name = "DIR", default_value = "underdog-demo")]
    out: PathBuf,
}

fn run(call: &Call<'_>) -> Result<(), Error> {
    let Arguments { out } = call.arguments()?;
    let found = with_device(call, |context| recipes::demo(context, &out, call.config.seed))
        .map_err(|e| e.and("the same command goes on from there"))?;
    if call.json {
        return Ok(report::json(&found.rows)?);
    }
    let mut table = Table::new(["", "loss", "exact match", "updates"]);
    for row in &found.rows {
        let exact = format!("{:.1} %", 100.0 * row.exact_match);
        table.row([row.model.clone(), format!("{:.4}", row.loss), exact, row.updates.to_string()]);
    }
    let (problems, out) = (found.rows.first().map_or(0, |row| row.problems), out.display());
    Ok(report::text(&format!(
        "\n{picture}\n{table}\non {problems} held-out problems; the runs are in {out}\n\n\
         Try next:\n  \
         underdog generate --model {out}/SFT --prompt $'Ann has 5 apples and gets 3 more. Then Ann gives 2 away. \
         How many apples are left?\\n'\n  \
         underdog plan  --model DIR --data train.jsonl                    # what your own model needs, before anything runs\n  \
         underdog wmss  --model DIR --data train.jsonl --lora-rank 16 --out strong\n",
        picture = found.picture,
        table = table.render()
    ))?)
}
