//! The findings as text to paste into an issue, and what to do about them.

use super::{Findings, Pace, Room, formats::PLAIN};
use crate::{
    bench::Check,
    report::{Table, bytes, duration},
};

impl Findings {
    /// Everything, for people.
    pub fn render(&self) -> String {
        let Self { version, system, adapter, checks, forms, formats, memory, pace, seconds } = self;
        let Room { available, binding, tried, got } = memory;
        let mut table = Table::new(["underdog doctor", ""]);
        let features = if adapter.features.is_empty() { "none".into() } else { adapter.features.join(" ") };
        let known = available.map_or("not told by the system; give --memory".into(), bytes);
        let [least, most] = adapter.subgroup;
        let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed).collect();
        let wrong = forms.iter().filter(|form| form.wrong.is_some()).count();
        for (name, value) in [
            ("version", format!("{version}, {system}")),
            ("adapter", format!("{} ({}, {})", adapter.name, adapter.kind, adapter.backend)),
            ("driver", adapter.driver.clone()),
            ("features", features),
            ("subgroups", format!("{least} to {most}")),
            (
                "workgroups",
                format!("{}, {} invocations", bytes(adapter.workgroup_bytes.into()), adapter.workgroup_invocations),
            ),
            ("binding; buffer", format!("{}; {}", bytes(*binding), bytes(adapter.max_buffer_bytes))),
            ("memory for a run", known),
            ("allocated in trial", format!("{} of {}", bytes(*got), bytes(*tried))),
            ("kernels against the CPU", format!("{} of {} right", checks.len() - failed.len(), checks.len())),
            ("other variants of kernels", format!("{} of {} right", forms.len() - wrong, forms.len())),
        ] {
            table.row([name.to_owned(), value]);
        }
        for learned in formats {
            let verdict = if learned.passed { "right" } else { "WRONG" };
            table.row([format!("learning in {}", learned.format), format!("{verdict}: {}", learned.found())]);
        }
        let Pace { gflops, longest_ms, .. } = pace;
        let busy = format!("{longest_ms:.0} ms at most in a step of Qwen3-0.6B, at {gflops:.0} GFLOP/s");
        table.row(["busy at a time".to_owned(), busy]);
        table.row(["time taken".to_owned(), duration(*seconds)]);
        let advice: String = self.advice().iter().map(|line| format!("- {line}\n")).collect();
        format!("{}\n{}", table.render(), if advice.is_empty() { "nothing is wrong\n".into() } else { advice })
    }

    /// What is wrong and what to do.
    pub fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        for check in self.checks.iter().filter(|check| !check.passed) {
            let Check { name, found, .. } = check;
            advice
                .push(format!("{name}: {found}; do not train on this driver: update it, or choose another --device"));
        }
        for learned in self.formats.iter().filter(|learned| !learned.passed) {
            let what = match learned.format.as_str() {
                PLAIN => "do not train on this driver: update it, or choose another --device",
                _ => "runs on this device do not take it; update the driver and run doctor again",
            };
            advice.push(format!("learning in {}: {}; {what}", learned.format, learned.found()));
        }
        for form in &self.forms {
            if let Some(why) = &form.wrong {
                let what = "is not taken on this device; nothing to do, but tell us";
                advice.push(format!("{} as {}: {why}; it {what}", form.group, form.variant));
            }
        }
        if self.memory.got < self.memory.tried {
            advice.push(
                "memory that should be there cannot be had: close other programs, or give a smaller --memory".into(),
            );
        }
        if self.memory.available.is_none() {
            advice.push("how much memory there is cannot be told: give --memory, as in --memory 8GiB".into());
        }
        if self.pace.watchdog {
            let limit = "the system may end a run whose single kernels take 2 s (Windows) or a few (macOS)";
            advice.push(format!("{limit}; use a smaller --max-length or --tokens-per-pass"));
        }
        if self.pace.stutters {
            advice.push(
                "a display on this device may stutter while it trains; a smaller --tokens-per-pass helps".into(),
            );
        }
        advice
    }
}
