//! Events on stderr: one line that moves on a terminal, plain lines elsewhere.

use std::fmt;
use std::io::{IsTerminal, Write};

use anstream::adapter::strip_str;
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

use super::format::{bytes, count, duration};
use super::{Error, Event, Sink, Step};

const HEAD: Style = Style::new().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// Without a terminal a line is written at the first and the last step, and between them after every tenth of the
/// phase or this many seconds of work, whichever comes first.
const SECONDS_BETWEEN_LINES: f64 = 30.0;

/// Share of the past that a step leaves in the measured speed: about the last 20 steps count.
const MEMORY: f64 = 0.95;

/// Where events are shown.
pub struct Console {
    out: Box<dyn Write + Send>,
    on_terminal: bool,
    phase: Option<Phase>,
}

/// What is known of the phase that runs.
struct Phase {
    name: String,
    unit: String,
    total: u64,
    done: u64,
    speed: Speed,
    bar: Option<ProgressBar>,
    line_at: Option<u64>,
    seconds_since_line: f64,
}

/// Sums over the past, of which each event leaves [`MEMORY`].
#[derive(Default)]
struct Speed {
    units: f64,
    tokens: f64,
    seconds: f64,
}

impl Console {
    /// Stderr as it is: a terminal or not.
    pub fn stderr() -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        Self { out: Box::new(anstream::stderr()), on_terminal, phase: None }
    }

    /// Plain lines into a writer.
    pub fn lines(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), on_terminal: false, phase: None }
    }

    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::RunStarted { title, facts } => {
                self.say(&format!("{HEAD}{title}{HEAD:#}"));
                let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
                facts.iter().for_each(|(name, value)| self.say(&format!("  {name:width$}  {value}")));
            }
            Event::PhaseStarted { name, unit, total, done } => self.start(name, unit, *total, *done),
            Event::Step(step) => self.advance(step.step, step.tokens, step.seconds, numbers(step)),
            Event::Progress { done, tokens, seconds } => self.advance(*done, *tokens, *seconds, Default::default()),
            Event::Saved { place, step } => self.say(&format!("saved step {} in {place}", count(*step))),
            Event::PhaseFinished { name, seconds, summary } => {
                self.clear();
                let comma = if summary.is_empty() { "" } else { ", " };
                self.say(&format!("{HEAD}{name}{HEAD:#} done in {}{comma}{summary}", duration(*seconds)));
            }
            Event::Memory { planned, peak, reserved } => {
                let held = reserved
                    .filter(|held| held > peak)
                    .map_or_else(String::new, |held| format!(", {} with the allocator's blocks", bytes(held)));
                self.say(&format!("device memory: peak {} (planned {}{held})", bytes(*peak), bytes(*planned)));
            }
            Event::Profiled(profile) => self.say(profile.render().trim_end()),
            Event::Note(text) => self.say(text),
            Event::Warning { text, .. } => self.say(&format!("{WARNING}warning:{WARNING:#} {text}")),
        }
    }

    fn start(&mut self, name: &str, unit: &str, total: u64, done: u64) {
        self.clear();
        let resumed = if done > 0 { format!(", {} of them done before", count(done)) } else { String::new() };
        self.say(&format!("{HEAD}{name}{HEAD:#}: {}{resumed}", amount(total, unit)));
        self.phase = Some(Phase {
            name: name.to_owned(),
            unit: unit.to_owned(),
            total,
            done,
            speed: Speed::default(),
            bar: self.on_terminal.then(|| bar(name, total, done)),
            line_at: None,
            seconds_since_line: 0.0,
        });
    }

    fn advance(&mut self, done: u64, tokens: u64, seconds: f64, (first, last): (String, String)) {
        let Some(phase) = &mut self.phase else { return };
        phase.speed.add(done.saturating_sub(phase.done), tokens, seconds);
        phase.done = done;
        phase.seconds_since_line += seconds;
        let status = format!("{first}{}{last}", phase.speed_and_rest());
        if let Some(bar) = &phase.bar {
            bar.set_position(done);
            bar.set_message(status);
        } else if phase.line_is_due() {
            phase.line_at = Some(done);
            phase.seconds_since_line = 0.0;
            let line = format!("{}: {} {}/{}{status}", phase.name, phase.unit, count(done), count(phase.total));
            self.say(&line);
        }
    }

    /// Writes a line, above the moving one if there is one. A console that is gone stops nothing.
    fn say(&mut self, line: &str) {
        let line = if self.on_terminal { line.to_owned() } else { strip_str(line).to_string() };
        let bar = self.phase.as_ref().and_then(|phase| phase.bar.clone());
        let mut write = || {
            let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        };
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn clear(&mut self) {
        if let Some(Phase { bar: Some(bar), .. }) = self.phase.take() {
            bar.finish_and_clear();
        }
    }
}

impl Sink for Console {
    fn event(&mut self, event: &Event<'_>) -> Result<(), Error> {
        self.show(event);
        Ok(())
    }
}

impl Phase {
    /// Tokens per second and the time that is left.
    fn speed_and_rest(&self) -> String {
        let Speed { units, tokens, seconds } = self.speed;
        let mut status = String::new();
        if seconds > 0.0 && tokens > 0.0 {
            status += &format!("  {} tok/s", count((tokens / seconds).round() as u64));
        }
        if units > 0.0 && self.done < self.total {
            let left = (self.total - self.done) as f64;
            status += &format!("  eta {}", duration(left * seconds / units));
        }
        status
    }

    fn line_is_due(&self) -> bool {
        let Some(line_at) = self.line_at else { return true };
        let is_last = self.done >= self.total;
        let tenth = (self.total / 10).max(1);
        is_last || self.done - line_at.min(self.done) >= tenth || self.seconds_since_line >= SECONDS_BETWEEN_LINES
    }
}

impl Speed {
    fn add(&mut self, units: u64, tokens: u64, seconds: f64) {
        self.units = MEMORY * self.units + units as f64;
        self.tokens = MEMORY * self.tokens + tokens as f64;
        self.seconds = MEMORY * self.seconds + seconds;
    }
}

impl Drop for Console {
    /// A run that fails leaves its last line to be read.
    fn drop(&mut self) {
        if let Some(Phase { bar: Some(bar), .. }) = &self.phase {
            bar.abandon();
        }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("on_terminal", &self.on_terminal).finish_non_exhaustive()
    }
}

/// What stands before speed and rest, and after: a narrow terminal cuts the line at its end.
fn numbers(step: &Step) -> (String, String) {
    let first = format!("  loss {:.4}  lr {:.2e}", step.loss, step.lr);
    let brief = step.metrics.0.iter().filter_map(|number| Some((number.value, number.brief?)));
    let brief = brief.map(|(value, (label, decimals))| format!("  {label} {value:.decimals$}"));
    (first, format!("  grad {:.3}", step.grad_norm) + &brief.collect::<String>())
}

fn amount(number: u64, unit: &str) -> String {
    format!("{} {unit}{}", count(number), if number == 1 { "" } else { "s" })
}

fn bar(name: &str, total: u64, done: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:10}] {pos}/{len}{wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(name.to_owned());
    bar.set_position(done);
    bar
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::events::{Number, Numbers, WarningCode};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(events: &[Event<'_>]) -> String {
        let captured = Captured::default();
        let mut console = Console::lines(captured.clone());
        events.iter().for_each(|event| console.show(event));
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    fn step(step: u64, seconds: f64) -> Event<'static> {
        let step = Step { step, loss: 1.5, grad_norm: 0.25, lr: 1e-5, tokens: 640, seconds, ..Step::default() };
        Event::Step(Box::new(step))
    }

    fn phase(total: u64, done: u64) -> Event<'static> {
        Event::PhaseStarted { name: "sft", unit: "step", total, done }
    }

    #[test]
    fn a_run_in_lines() {
        let number = |name, value, brief| Number { name, value, brief };
        let metrics = Numbers(vec![
            number("margin", -0.5, Some(("margin", 2))),
            number("entropy_strong", 1.0, Some(("H strong", 3))),
            number("target_logit", 7.0, None),
            number("lambda", 0.5, Some(("lambda", 2))),
        ]);
        let mixed = Step {
            step: 2,
            loss: f64::NAN,
            grad_norm: 1.0,
            lr: 2e-5,
            tokens: 640,
            seconds: 0.5,
            metrics,
            ..Step::default()
        };
        let facts = [("model", "tiny".to_owned()), ("device", "none".to_owned())];
        let got = shown(&[
            Event::RunStarted { title: "train", facts: &facts },
            phase(2, 0),
            step(1, 0.5),
            Event::Step(Box::new(mixed)),
            Event::Saved { place: "out", step: 2 },
            Event::PhaseFinished { name: "sft", seconds: 1.0, summary: "loss 1.5" },
            Event::Warning { code: WarningCode::Data, text: "warm" },
            Event::Note("note"),
        ]);
        let want = [
            "train",
            "  model   tiny",
            "  device  none",
            "sft: 2 steps",
            "sft: step 1/2  loss 1.5000  lr 1.00e-5  1,280 tok/s  eta 0.5s  grad 0.250",
            "sft: step 2/2  loss NaN  lr 2.00e-5  1,280 tok/s  grad 1.000  margin -0.50  H strong 1.000  lambda 0.50",
            "saved step 2 in out",
            "sft done in 1.0s, loss 1.5",
            "warning: warm",
            "note",
        ];
        assert_eq!(got, want.join("\n") + "\n");
    }

    #[test]
    fn lines_come_at_sensible_intervals() {
        let steps_shown = |total: u64, done: u64, seconds: f64| {
            let mut events = vec![phase(total, done)];
            events.extend((done + 1..=total).map(|number| step(number, seconds)));
            shown(&events)
                .lines()
                .skip(1)
                .filter_map(|line| line.split([' ', '/']).nth(2)?.parse().ok())
                .collect::<Vec<u64>>()
        };
        assert_eq!(steps_shown(3, 0, 0.1), [1, 2, 3]);
        assert_eq!(steps_shown(25, 0, 0.1), [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25]);
        assert_eq!(steps_shown(100, 75, 0.1), [76, 86, 96, 100]);
        assert_eq!(steps_shown(100, 95, 16.0), [96, 98, 100]);
    }

    #[test]
    fn a_resumed_phase_expects_only_what_is_left() {
        let got = shown(&[phase(1000, 990), step(991, 2.0)]);
        let want = "sft: 1,000 steps, 990 of them done before\nsft: step 991/1,000  loss 1.5000  lr 1.00e-5  320 tok/s  eta 18s  grad 0.250\n";
        assert_eq!(got, want);
    }

    #[test]
    fn phases_without_steps_and_stray_events() {
        let progress = Event::Progress { done: 4, tokens: 0, seconds: 2.0 };
        let scoring = Event::PhaseStarted { name: "score", unit: "sample", total: 8, done: 0 };
        assert_eq!(shown(&[progress.clone(), scoring, progress]), "score: 8 samples\nscore: sample 4/8  eta 2.0s\n");
    }
}
