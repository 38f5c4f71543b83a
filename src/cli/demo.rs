//! `underdog demo`

use std::sync::atomic::AtomicBool;

use super::{args::DemoArgs, with_device};
use crate::{
    recipes,
    report::{self, Table},
    session::Error,
};

pub(super) fn run(args: &DemoArgs, json: bool, stop: &AtomicBool) -> Result<(), Error> {
    let rows = with_device(args.device.as_deref(), stop, |context| recipes::demo(context, &args.out, args.seed))
        .map_err(|e| e.and("the same command goes on from there"))?;
    if json {
        return Ok(report::json(&rows)?);
    }
    let mut table = Table::new(["", "loss", "exact match", "updates"]);
    for row in &rows {
        let exact = format!("{:.1} %", 100.0 * row.exact_match);
        table.row([row.model.clone(), format!("{:.4}", row.loss), exact, row.updates.to_string()]);
    }
    let (problems, out) = (rows.first().map_or(0, |row| row.problems), args.out.display());
    Ok(report::text(&format!("\n{}\non {problems} held-out problems; the runs are in {out}\n", table.render()))?)
}
