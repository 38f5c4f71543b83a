//! What a comparison found: per arm the mean over seeds, the spread, and a paired bootstrap against the baseline.

use serde::Serialize;

use super::Outcome;
use crate::{
    eval::stats::{self, Difference},
    report::{bytes, count, duration},
};

/// Share of resamples inside an interval.
const LEVEL: f64 = 0.95;

/// One arm over all seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The arm, or `M0` and `M1`, from which all start.
    pub arm: String,
    /// Share of held-out samples whose whole completion greedy decoding gives.
    pub exact: Spread,
    /// Its difference from the baseline over the same samples, each a mean over seeds.
    pub exact_difference: Option<Difference>,
    /// Nats per held-out target token.
    pub loss: Spread,
    /// Its difference from the baseline, over the mean losses of samples.
    pub loss_difference: Option<Difference>,
    /// Optimizer updates after M1, of one seed.
    pub updates: u64,
    /// Tokens computed in these.
    pub tokens: u64,
    /// Seconds, mean over seeds.
    pub seconds: f64,
    /// Device memory, in bytes.
    pub bytes: u64,
    #[serde(skip)]
    outcomes: Vec<Outcome>,
}

/// Mean and standard deviation over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of a sample; 0 for one seed.
    pub deviation: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mean = stats::mean(values).unwrap_or_default();
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = if values.len() > 1 { (squares / (values.len() - 1) as f64).sqrt() } else { 0.0 };
        Self { mean, deviation }
    }
}

impl Row {
    pub(super) fn new(arm: &str) -> Self {
        Self {
            arm: arm.into(),
            exact: Spread::default(),
            exact_difference: None,
            loss: Spread::default(),
            loss_difference: None,
            updates: 0,
            tokens: 0,
            seconds: 0.0,
            bytes: 0,
            outcomes: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    fn summarise(&mut self) {
        let each = |value: &dyn Fn(&Outcome) -> f64| -> Vec<f64> { self.outcomes.iter().map(value).collect() };
        let share = |o: &Outcome| o.exact.iter().filter(|exact| **exact).count() as f64 / o.exact.len().max(1) as f64;
        let (exact, loss, seconds) = (each(&share), each(&|o| o.loss), each(&|o| o.seconds));
        (self.exact, self.loss) = (Spread::of(&exact), Spread::of(&loss));
        self.seconds = Spread::of(&seconds).mean;
        if let Some(last) = self.outcomes.last() {
            (self.updates, self.tokens) = (last.updates, last.tokens);
        }
        self.bytes = self.outcomes.iter().map(|o| o.bytes).max().unwrap_or(0);
    }

    /// Each held-out sample's mean over the seeds.
    fn items(&self, value: impl Fn(&Outcome) -> Vec<f64>) -> Option<Vec<f64>> {
        let seeds: Vec<Vec<f64>> = self.outcomes.iter().map(value).collect();
        stats::mean_over_seeds(&seeds).ok()
    }

    fn exact_items(&self) -> Option<Vec<f64>> {
        self.items(|o| o.exact.iter().map(|exact| f64::from(u8::from(*exact))).collect())
    }

    fn loss_items(&self) -> Option<Vec<f64>> {
        self.items(|o| o.losses.clone())
    }
}

/// All arms, the baseline among them.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// `M0`, `M1`, then the arms as given.
    pub rows: Vec<Row>,
    /// The arm that the others are compared with.
    pub baseline: &'static str,
    /// Seeds of every arm.
    pub seeds: usize,
    /// Held-out samples.
    pub samples: usize,
}

impl Comparison {
    pub(super) fn new(mut rows: Vec<Row>, baseline: &'static str, seed: u64) -> Self {
        rows.iter_mut().for_each(Row::summarise);
        let base = rows.iter().find(|row| row.arm == baseline).map(|row| (row.exact_items(), row.loss_items()));
        let (base_exact, base_loss) = base.unwrap_or_default();
        let difference = |of: Option<Vec<f64>>, base: &Option<Vec<f64>>| {
            stats::paired_bootstrap(&of?, base.as_ref()?, stats::RESAMPLES, LEVEL, seed).ok()
        };
        for row in rows.iter_mut().filter(|row| row.arm != baseline) {
            row.exact_difference = difference(row.exact_items(), &base_exact);
            row.loss_difference = difference(row.loss_items(), &base_loss);
        }
        let outcomes = rows.first().map(|row| &row.outcomes);
        let seeds = outcomes.map_or(0, Vec::len);
        let samples = outcomes.and_then(|outcomes| outcomes.first()).map_or(0, |outcome| outcome.exact.len());
        Self { rows, baseline, seeds, samples }
    }

    /// The table for people.
    pub fn markdown(&self) -> String {
        let Self { baseline, seeds, samples, .. } = self;
        let mut text = format!(
            "{seeds} seeds, {} held-out samples; mean ± standard deviation over seeds; differences from {baseline} with \
             {:.0} % paired bootstrap intervals over samples\n\n\
             | arm | exact match % | difference | loss | difference | updates | tokens | time | device memory |\n\
             |---|---|---|---|---|---|---|---|---|\n",
            count(*samples as u64),
            100.0 * LEVEL
        );
        for row in &self.rows {
            let cells = [
                row.arm.clone(),
                spread(row.exact, 100.0, 1),
                difference(row.exact_difference, 100.0, 1),
                spread(row.loss, 1.0, 4),
                difference(row.loss_difference, 1.0, 4),
                count(row.updates),
                count(row.tokens),
                duration(row.seconds),
                if row.bytes > 0 { bytes(row.bytes) } else { String::new() },
            ];
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

fn spread(Spread { mean, deviation }: Spread, unit: f64, digits: usize) -> String {
    format!("{:.digits$} ± {:.digits$}", unit * mean, unit * deviation)
}

fn difference(difference: Option<Difference>, unit: f64, digits: usize) -> String {
    difference.map_or_else(String::new, |d| {
        let [mean, low, high] = [d.mean, d.interval.low, d.interval.high].map(|x| unit * x);
        format!("{mean:+.digits$} [{low:+.digits$}, {high:+.digits$}]")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(loss: f64, exact: [bool; 4]) -> Outcome {
        let losses = vec![loss; 4];
        let (held_out, exact) = (String::new(), exact.to_vec());
        Outcome { held_out, loss, losses, exact, updates: 8, tokens: 1000, seconds: 2.0, bytes: 1 << 20 }
    }

    #[test]
    fn a_table() {
        let mut rows = vec![Row::new("sft"), Row::new("mix")];
        rows[0].add(outcome(1.0, [true, false, false, false]));
        rows[0].add(outcome(2.0, [true, false, false, false]));
        rows[1].add(outcome(1.25, [true, true, true, true]));
        rows[1].add(outcome(1.25, [true, true, false, true]));
        let comparison = Comparison::new(rows, "sft", 1);
        let [sft, mix] = &comparison.rows[..] else { panic!("two rows") };
        assert_eq!((sft.exact.mean, mix.exact.mean, sft.exact_difference), (0.25, 0.875, None));
        assert_eq!(sft.loss, Spread { mean: 1.5, deviation: 0.5f64.sqrt() });
        let exact = mix.exact_difference.unwrap();
        assert!(exact.mean == 0.625 && exact.interval.low < 0.625 && exact.interval.high <= 1.0, "{exact:?}");
        let loss = mix.loss_difference.unwrap();
        assert_eq!((loss.mean, loss.interval.low, loss.interval.high), (-0.25, -0.25, -0.25));
        let text = comparison.markdown();
        assert!(text.contains("2 seeds, 4 held-out samples"), "{text}");
        assert!(text.contains("| mix | 87.5 ± 17.7 | +62.5 ["), "{text}");
        assert!(
            text.contains("| 1.2500 ± 0.0000 | -0.2500 [-0.2500, -0.2500] | 8 | 1,000 | 2.0s | 1.00 MiB |"),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&comparison.json()).unwrap();
        assert_eq!(json["rows"][1]["exact"]["mean"], 0.875);
    }
}
