//! Adapters against the golden numbers of PEFT.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;
use underdog::{
    engine::{Loss, Side},
    method::Source,
    ops::head_loss::LOSS,
    optim::Scalars,
    train::Mixing,
};

use crate::support::*;

#[derive(Deserialize)]
struct Row {
    folder: String,
    base: String,
    holds: Vec<String>,
    weak: Option<String>,
    lambda: Option<f64>,
}

fn rows_of_file() -> BTreeMap<String, Row> {
    let rows: Vec<Row> = serde_json::from_slice(&fs::read(golden_path("adapters/cases.json")).unwrap()).unwrap();
    rows.into_iter().map(|row| (row.folder.clone(), row)).collect()
}

/// The arm of a folder of `tests/golden/adapters`.
pub(crate) fn arm(name: &str) -> Arm {
    let row = rows_of_file().remove(name).unwrap_or_else(|| panic!("{name} is not in the file"));
    Arm {
        name: row.folder,
        strong: row.base,
        adapter: Some(name.into()),
        others: row.weak.iter().map(|_| (BASE.to_owned(), false, 1.0)).collect(),
        loss: if row.weak.is_some() { Loss::Mix(Source::Real) } else { Loss::Sft { noisy: false } },
        scalars: Scalars { lambda: row.lambda.unwrap_or(1.0), ..SCALARS },
        mixing: Mixing::Constant,
        noise: (0.0, None),
        examples: Golden::open(&format!("adapters/{name}")).examples(),
    }
}

fn check(name: &str) {
    let golden = Golden::open(&format!("adapters/{name}"));
    let (arm, row) = (arm(name), rows_of_file().remove(name).unwrap());
    let holds = |what: &str| row.holds.iter().any(|held| held == what);
    let rows = rows(&arm.examples, ROW);
    let mut checks = Checks::of(name);
    let logits = in_order(&rows[0], &forward_with(&arm.strong, Some(name), &rows[0]).logits);
    checks.tensor("logits", "", &logits, &golden.get("logits"), 1e-5);
    if holds("merged") {
        checks.tensor("merged", "", &logits, &golden.get("merged"), 1e-5);
    }
    let mut engine = arm.engine(&arm.spec(ROW));
    let found = curve(&arm, &mut engine, &rows, STEPS, |engine, stats| {
        checks.each("loss", &[mean(&rows, stats, LOSS)], &golden.get("loss"), 1e-6);
        check_parameters(&mut checks, &golden, "grad.", &parameters(engine, Side::Strong, true), 2e-5);
    });
    checks.each("curve", &found[0], &golden.get("curve"), 1e-5);
    checks.each("grad_norms", &found[1], &golden.get("grad_norms"), 2e-5);
    if holds("final") {
        check_parameters(&mut checks, &golden, "final.", &parameters(&engine, Side::Strong, false), 5e-4);
    }
    checks.finish();
}

#[test]
fn goldens_of_peft() {
    let failed: Vec<String> =
        rows_of_file().into_keys().filter(|name| std::panic::catch_unwind(|| check(name)).is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
