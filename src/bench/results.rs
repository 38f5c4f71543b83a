//! What a run of the suite found: what is written to a file, and the table that people see.

use std::fmt::Write as _;

use serde::Serialize;

use super::{measure::Samples, stats};
use crate::{
    gpu::Gpu,
    report::{self, Table},
};

/// Version of the form of the file. It changes when an older reader could no longer read it.
pub const SCHEMA: u64 = 1;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// 1e9 operations a second.
    #[serde(rename = "GFLOP/s")]
    GigaFlops,
    /// 1e9 bytes a second.
    #[serde(rename = "GB/s")]
    GigaBytes,
    /// Tokens trained a second.
    #[serde(rename = "tokens/s")]
    Tokens,
    /// Microseconds; the only one of which less is better.
    #[serde(rename = "us")]
    Micros,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 4] = [Self::GigaFlops, Self::GigaBytes, Self::Tokens, Self::Micros];

    /// As in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::GigaFlops => "GFLOP/s",
            Self::GigaBytes => "GB/s",
            Self::Tokens => "tokens/s",
            Self::Micros => "us",
        }
    }

    /// Of a second's work.
    fn per_second(self) -> f64 {
        match self {
            Self::GigaFlops | Self::GigaBytes => 1e-9,
            Self::Tokens | Self::Micros => 1.0,
        }
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Unique; the same work everywhere.
    pub name: String,
    /// The heading it stands under.
    pub group: String,
    /// What `median`, `low` and `high` count.
    pub unit: Unit,
    /// Of all runs.
    pub median: f64,
    /// A quarter of the runs is lower.
    pub low: f64,
    /// A quarter of the runs is higher.
    pub high: f64,
    /// How many there were.
    pub runs: u64,
    /// Of the device's own ceiling, 1 being all of it; of the multiply-adds for steps.
    pub share_of_ceiling: Option<f64>,
    /// Planned device memory of a step.
    pub peak_bytes: Option<u64>,
    /// What else a reader must know.
    pub note: Option<String>,
}

impl Entry {
    /// `work` a run, in what `unit` counts 1e9 of or, for tokens, one of. `ceiling`: the rate in the same unit that is all
    /// of it.
    pub(super) fn of_rate(
        name: &str,
        group: &str,
        samples: &Samples,
        work: f64,
        unit: Unit,
        ceiling: Option<f64>,
    ) -> Self {
        let per_second = stats::spread(&samples.seconds).map(|seconds| seconds.rates(work));
        let share = per_second.zip(ceiling).map(|(rates, ceiling)| rates.median / ceiling);
        Self::new(name, group, samples, unit, per_second.map(|rates| rates.scaled(unit.per_second())), share)
    }

    /// Microseconds of each of `parts` equal parts of a run.
    pub(super) fn of_time(name: &str, group: &str, samples: &Samples, parts: usize) -> Self {
        let micros = stats::spread(&samples.seconds).map(|seconds| seconds.scaled(1e6 / parts as f64));
        Self::new(name, group, samples, Unit::Micros, micros, None)
    }

    fn new(
        name: &str,
        group: &str,
        samples: &Samples,
        unit: Unit,
        spread: Option<stats::Spread>,
        share_of_ceiling: Option<f64>,
    ) -> Self {
        let stats::Spread { low, median, high } =
            spread.unwrap_or(stats::Spread { low: 0.0, median: 0.0, high: 0.0 });
        let slowed = samples.slowed().map(|by| format!("slowed down by {:.0}% while measured", (by - 1.0) * 100.0));
        Self {
            name: name.into(),
            group: group.into(),
            unit,
            median,
            low,
            high,
            runs: samples.seconds.len() as u64,
            share_of_ceiling,
            peak_bytes: None,
            note: slowed,
        }
    }

    /// Adds something a reader must know.
    pub(super) fn with_note(mut self, note: &str) -> Self {
        self.note = Some(self.note.map_or(note.into(), |before| format!("{before}; {note}")));
        self
    }
}

/// Something that was not measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Skipped {
    /// What.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A number that was held against the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Of what.
    pub name: String,
    /// Whether it is near enough.
    pub passed: bool,
    /// What was found, in words.
    pub found: String,
}

/// Where it was measured. Neither a host's name nor a path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// The device's marketing name.
    pub adapter: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub kind: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// The driver's name.
    pub driver: String,
    /// Its version.
    pub driver_info: String,
    /// Operating system and processor family.
    pub os: String,
    /// Threads of the host: what a software driver has.
    pub threads: u64,
}

impl Machine {
    /// The one that `gpu` is in.
    pub fn of(gpu: &Gpu) -> Self {
        let crate::gpu::Identity { adapter, kind, backend, driver, driver_info } = gpu.identity();
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        Self { adapter, kind, backend, driver, driver_info, os: os(), threads }
    }

    /// Adapter and driver, in one line.
    pub fn label(&self) -> String {
        let Self { adapter, driver, driver_info, .. } = self;
        format!("{adapter}, {driver} {driver_info}").trim().trim_end_matches(',').to_owned()
    }
}

/// Of Linux, the distribution's own words.
fn os() -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    match pretty.map(|name| name.trim_matches('"')).filter(|_| os == "linux") {
        Some(name) => format!("{name}, {arch}"),
        None => format!("{os}, {arch}"),
    }
}

/// All that a run of the suite found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Results {
    /// [`SCHEMA`] of its time.
    pub schema: u64,
    /// Of the program that measured.
    pub version: String,
    /// When it began, in UTC: `2026-11-21T14:00:00Z`.
    pub date: String,
    /// `quick` or `full`.
    pub suite: String,
    /// What names had to contain, if not all was measured.
    pub filter: Option<String>,
    /// Where.
    pub machine: Machine,
    /// How long it took.
    pub seconds: f64,
    /// What was measured.
    pub entries: Vec<Entry>,
    /// What was not.
    pub skipped: Vec<Skipped>,
    /// Whether the numbers are right.
    pub checks: Vec<Check>,
    /// What makes the figures less than they seem.
    pub warnings: Vec<String>,
}

impl Results {
    /// The checks that failed.
    pub fn failed(&self) -> Vec<&Check> {
        self.checks.iter().filter(|check| !check.passed).collect()
    }

    /// For people.
    pub fn render(&self) -> String {
        let Machine { backend, os, threads, .. } = &self.machine;
        let mut text = format!(
            "{}\n{backend}, {os}, {threads} threads; underdog {}, {} suite, {}, {}\n\n",
            self.machine.label(),
            self.version,
            self.suite,
            self.date,
            report::duration(self.seconds),
        );
        let mut table = Table::new(["", "entry", "median", "", "quartiles", "runs", "of ceiling", "memory"]);
        let mut group = "";
        for entry in &self.entries {
            let heading = if entry.group == group { "" } else { &entry.group };
            group = &entry.group;
            table.row(row(heading, entry));
        }
        text += &table.render();
        let mut list = |heading: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                let _ = write!(text, "\n{heading}\n  {}\n", lines.join("\n  "));
            }
        };
        let noted = self.entries.iter().filter_map(|e| Some(format!("{}: {}", e.name, e.note.as_ref()?)));
        list("notes", noted.chain(self.warnings.iter().cloned()).collect());
        list("not measured", self.skipped.iter().map(|s| format!("{}: {}", s.name, s.reason)).collect());
        let said = |check: &Check| {
            format!("{} {}: {}", if check.passed { "ok    " } else { "FAILED" }, check.name, check.found)
        };
        list("checks against the reference", self.checks.iter().map(said).collect());
        text
    }
}

fn row(heading: &str, entry: &Entry) -> [String; 8] {
    let share = entry.share_of_ceiling.map_or(String::new(), |share| format!("{:.1}%", share * 100.0));
    [
        heading.to_owned(),
        entry.name.clone(),
        figure(entry.median),
        entry.unit.name().into(),
        format!("{} .. {}", figure(entry.low), figure(entry.high)),
        entry.runs.to_string(),
        share,
        entry.peak_bytes.map_or(String::new(), report::bytes),
    ]
}

/// A number with about three digits: `0.123`, `12.3`, `1234`.
pub(super) fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        x if x >= 100.0 => 0,
        x if x >= 10.0 => 1,
        x if x >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Now, in UTC: `2026-11-21T14:00:00Z`.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_about_three_digits() {
        for (value, want) in [(0.0, "0.000"), (0.1234, "0.123"), (12.34, "12.3"), (1234.5, "1234"), (5.678, "5.68")] {
            assert_eq!(figure(value), want);
        }
    }
}
