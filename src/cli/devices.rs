//! `underdog devices`

use serde_json::json;

use super::verb::{Call, Verb};
use crate::{
    gpu::{self, AdapterSummary},
    report::{self, Table, bytes},
    session::Error,
    settings::DEVICES,
};

pub(super) const VERB: Verb =
    Verb { about: "List the GPUs, and say which one would be used and why", ..Verb::new(DEVICES, run) };

fn run(call: &Call<'_>) -> Result<(), Error> {
    let device = &call.config.device;
    let adapters = gpu::adapters(device.as_deref())?;
    let why = match (device, adapters.iter().find(|a| a.chosen)) {
        (Some(wanted), Some(chosen)) => format!("{} is the one that `{wanted}` names", chosen.name),
        (None, Some(chosen)) => {
            format!(
                "{} would be used: discrete GPUs go first, then integrated ones, software drivers last",
                chosen.name
            )
        }
        (_, None) => "none can be used".into(),
    };
    if call.json {
        return Ok(report::json(&json!({ "adapters": adapters, "why": why }))?);
    }
    let mut table =
        Table::new(["", "#", "adapter", "kind", "backend", "driver", "binding", "workgroup", "subgroup", "features"]);
    for (i, adapter) in adapters.iter().enumerate() {
        table.row(row(i, adapter));
    }
    report::text(&table.render())?;
    for adapter in &adapters {
        if let Some(reason) = &adapter.unusable {
            report::text(&format!("{}: cannot be used: {reason}\n", adapter.name))?;
        }
    }
    Ok(report::text(&format!("{why}\n"))?)
}

fn row(i: usize, adapter: &AdapterSummary) -> [String; 10] {
    let AdapterSummary { name, kind, backend, driver, subgroup: [least, most], .. } = adapter;
    [
        if adapter.chosen { "*" } else { "" }.into(),
        i.to_string(),
        name.clone(),
        kind.clone(),
        backend.clone(),
        driver.clone(),
        bytes(adapter.max_binding_bytes),
        bytes(u64::from(adapter.workgroup_bytes)),
        format!("{least}-{most}"),
        adapter.features.join(" "),
    ]
}
