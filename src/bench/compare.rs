//! Results of several machines side by side: how many times faster each is than the first.

use serde::Serialize;

use super::results::{Entry, Results, Unit, figure};
use crate::report::Table;

/// An entry and what each machine reached in it.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// The heading it stands under.
    pub group: &'a str,
    /// As in the files.
    pub name: &'a str,
    /// What the medians count.
    pub unit: Unit,
    /// In the order of the machines; `None`: not measured there.
    pub medians: Vec<Option<f64>>,
}

impl Line<'_> {
    /// How fast the i-th machine is: more is better, whatever the unit.
    pub(super) fn speed(&self, i: usize) -> Option<f64> {
        let median = self.medians[i].filter(|median| *median > 0.0)?;
        Some(if self.unit == Unit::Micros { 1.0 / median } else { median })
    }

    fn ratio(&self, i: usize) -> Option<f64> {
        Some(self.speed(i)? / self.speed(0)?)
    }
}

/// Results of several machines, the first of which is the measure of the others.
pub struct Comparison {
    results: Vec<Results>,
}

impl Comparison {
    /// Of at least one machine.
    pub fn new(results: Vec<Results>) -> Self {
        Self { results }
    }

    /// A letter for each machine, as tables and pictures call it.
    pub(super) fn letter(i: usize) -> String {
        match u8::try_from(i).ok().filter(|i| *i < 26) {
            Some(i) => char::from(b'A' + i).to_string(),
            None => format!("#{}", i + 1),
        }
    }

    /// What each letter stands for.
    pub fn legend(&self) -> Vec<String> {
        let describe = |(i, r): (usize, &Results)| {
            let date = r.date.get(..10).unwrap_or(&r.date);
            let failed = if r.failed().is_empty() { "" } else { ", CHECKS FAILED" };
            let label = r.machine.label();
            format!(
                "{}  {label}; {}; {} suite, underdog {}, {date}{failed}",
                Self::letter(i),
                r.machine.os,
                r.suite,
                r.version
            )
        };
        self.results.iter().enumerate().map(describe).collect()
    }

    /// Every entry of any machine, in the order of the first that has it, groups kept together.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let mut lines: Vec<Line<'_>> = Vec::new();
        for (i, results) in self.results.iter().enumerate() {
            for Entry { name, group, unit, median, .. } in &results.entries {
                let found = lines.iter().position(|line| line.name == name && line.unit == *unit);
                let at = found.unwrap_or_else(|| {
                    let behind =
                        lines.iter().rposition(|line| line.group == group).map_or(lines.len(), |last| last + 1);
                    lines.insert(behind, Line { group, name, unit: *unit, medians: vec![None; self.results.len()] });
                    behind
                });
                lines[at].medians[i] = Some(*median);
            }
        }
        lines
    }

    /// Medians of the first machine, and how many times faster the others are.
    pub fn render(&self) -> String {
        let mut text = self.legend().join("\n") + "\n\n";
        let others = 1..self.results.len();
        let mut table = Table::with(
            ["", "entry", "", "A"]
                .into_iter()
                .map(str::to_owned)
                .chain(others.clone().map(|i| format!("{}/A", Self::letter(i)))),
        );
        let mut group = "";
        for line in self.lines() {
            let heading = if line.group == group { "" } else { line.group };
            group = line.group;
            let mut cells = vec![heading.to_owned(), line.name.to_owned(), line.unit.name().to_owned()];
            cells.push(line.medians[0].map_or("-".into(), figure));
            cells.extend(others.clone().map(|i| line.ratio(i).map_or("-".into(), |ratio| format!("{ratio:.2}x"))));
            table.row(cells);
        }
        text += &table.render();
        text += "\nA ratio above 1 is faster than A.\n";
        text
    }
}
