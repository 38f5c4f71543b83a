//! What was measured, as a table and as JSON.

use serde_json::{Value, json};
use underdog::{
    bench::{Spread, spread},
    gpu::Identity,
};

use crate::workload::Workload;

/// Of one of the two.
#[derive(Default)]
pub struct Side {
    /// Before each update of the warm-up.
    pub losses: Vec<f64>,
    /// Its first step, which compiles and tunes.
    pub first: f64,
    /// Of every timed step, in order.
    pub seconds: Vec<f64>,
}

impl Side {
    /// Notes a step of the warm-up: seconds and loss.
    pub fn warm(&mut self, (seconds, loss): (f64, f64)) {
        if self.losses.is_empty() {
            self.first = seconds;
        }
        self.losses.push(loss);
    }
}

/// Everything.
pub struct Report {
    /// What was computed.
    pub workload: Workload,
    /// Where.
    pub identity: Identity,
    /// We.
    pub underdog: Side,
    /// The peer.
    pub burn: Side,
}

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        let Identity { adapter, backend, driver, driver_info, .. } = &self.identity;
        let ratio = self.ratio();
        let mut text = format!(
            "{}\n{adapter} ({driver} {driver_info}, {backend}); wgpu {}\n\n\
             | | ms a step | quartiles | tokens/s | first step, s |\n|---|---|---|---|---|\n",
            self.workload.describe(),
            version("wgpu"),
        );
        for (name, side) in self.sides() {
            let Spread { low, median, high } = quartiles(&side.seconds).scaled(1e3);
            let rate = self.workload.tokens as f64 / median * 1e3;
            text += &format!(
                "| {name} {} | {median:.1} | {low:.1} to {high:.1} | {rate:.0} | {:.1} |\n",
                version(name),
                side.first,
            );
        }
        text += &format!(
            "\nA step of burn takes {:.2} times as long (median of {} pairs; quartiles {:.2} to {:.2}).\n",
            ratio.median,
            self.burn.seconds.len(),
            ratio.low,
            ratio.high,
        );
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let side = |(name, side): (&str, &Side)| {
            let Spread { low, median, high } = quartiles(&side.seconds);
            let rate = self.workload.tokens as f64 / median;
            json!({
                "name": name, "version": version(name), "losses": side.losses, "first_step_s": side.first,
                "step_s": { "low": low, "median": median, "high": high }, "tokens_per_s": rate, "steps_s": side.seconds,
            })
        };
        let Spread { low, median, high } = self.ratio();
        json!({
            "workload": self.workload.describe(),
            "adapter": self.identity,
            "wgpu": version("wgpu"),
            "sides": self.sides().map(side),
            "burn_over_underdog": { "low": low, "median": median, "high": high },
        })
    }

    fn sides(&self) -> [(&'static str, &Side); 2] {
        [("underdog", &self.underdog), ("burn", &self.burn)]
    }

    /// burn's step over the step of underdog right before it: what else ran on the machine hit both.
    fn ratio(&self) -> Spread {
        let pairs = self.burn.seconds.iter().zip(&self.underdog.seconds);
        quartiles(&pairs.map(|(burn, underdog)| burn / underdog).collect::<Vec<_>>())
    }
}

fn quartiles(values: &[f64]) -> Spread {
    spread(values).unwrap_or(Spread { low: f64::NAN, median: f64::NAN, high: f64::NAN })
}

/// The version of a crate that the lock file names once.
fn version(name: &str) -> &'static str {
    let mut lines = include_str!("../Cargo.lock").lines();
    let found = lines.find(|line| line.strip_prefix("name = ") == Some(&format!("{name:?}")));
    let line = found.and_then(|_| lines.next());
    line.and_then(|line| line.strip_prefix("version = ")).map_or("?", |version| version.trim_matches('"'))
}
