//! `metrics.jsonl`: a line per optimizer step, whole on disk as soon as the step is done.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Error, Event, Sink, Step};

/// An open file of metrics.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file to append the step numbered `next_step` and those after it. What a former run wrote of them
    /// is cut off, and so is a line that a crash left torn; without a former run the file is made.
    ///
    /// # Errors
    /// [`Error::Metrics`] with the file's name.
    pub fn open(path: &Path, next_step: u64) -> Result<Self, Error> {
        let failed = |source| Error::Metrics { path: path.to_path_buf(), source };
        cut(path, next_step).map_err(failed)?;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    fn write(&mut self, step: &Step) -> Result<(), Error> {
        let failed = |source| Error::Metrics { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(step).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        // One write of a whole line, past any buffer of ours: readers never see half of it.
        self.file.write_all(&line).map_err(failed)
    }
}

impl Sink for Metrics {
    fn event(&mut self, event: &Event<'_>) -> Result<(), Error> {
        if let Event::Step(step) = event { self.write(step) } else { Ok(()) }
    }
}

/// Rewrites the file without the lines that are not steps before `next_step`, if there are any.
fn cut(path: &Path, next_step: u64) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Line {
        step: u64,
    }
    let before = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        before => before?,
    };
    let is_kept = |line: &&[u8]| {
        line.ends_with(b"\n") && serde_json::from_slice::<Line>(line).is_ok_and(|line| line.step < next_step)
    };
    let kept: Vec<&[u8]> = before.split_inclusive(|byte| *byte == b'\n').filter(is_kept).collect();
    let kept = kept.concat();
    if kept.len() == before.len() {
        return Ok(());
    }
    let aside = path.with_extension("jsonl.partial");
    let mut file = File::create(&aside)?;
    file.write_all(&kept)?;
    file.sync_all()?;
    fs::rename(aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Looks, Number, Numbers};

    fn numbers(values: &[(&'static str, f64)]) -> Numbers {
        Numbers(values.iter().map(|&(name, value)| Number { name, value, brief: None }).collect())
    }

    fn step(step: u64) -> Step {
        Step {
            step,
            loss: 1.5,
            grad_norm: 0.25,
            lr: 1e-5,
            tokens: 640,
            seconds: 0.5,
            peak_bytes: 96,
            planned_bytes: 100,
            metrics: numbers(&[("margin", -0.5), ("entropy_strong", 1.0)]),
            ..Step::default()
        }
    }

    fn steps(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap();
        text.lines().map(step).collect()
    }

    #[test]
    fn a_line_per_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut metrics = Metrics::open(&path, 1).unwrap();
        metrics.write(&step(1)).unwrap();
        let looks = Looks(vec![("probed", numbers(&[("distractor_logit", 3.0), ("mean_logit_drift", f64::NAN)]))]);
        metrics.write(&Step { loss: f64::NAN, grad_norm: f64::INFINITY, skipped: true, looks, ..step(2) }).unwrap();
        let memory = r#""peak_bytes":96,"planned_bytes":100,"margin":-0.5,"entropy_strong":1.0"#;
        let lines = [
            format!(r#"{{"step":1,"loss":1.5,"grad_norm":0.25,"lr":0.00001,"tokens":640,"seconds":0.5,{memory}}}"#),
            format!(
                r#"{{"step":2,"loss":null,"grad_norm":null,"lr":0.00001,"tokens":640,"seconds":0.5,{memory},"skipped":true,"probed":{{"distractor_logit":3.0,"mean_logit_drift":null}}}}"#
            ),
        ];
        assert_eq!(fs::read_to_string(&path).unwrap(), lines.join("\n") + "\n");
    }

    #[test]
    fn a_resumed_run_cuts_what_it_will_write_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let write = |from: u64, to: u64| {
            let mut metrics = Metrics::open(&path, from).unwrap();
            (from..=to).for_each(|number| metrics.write(&step(number)).unwrap());
        };
        write(1, 5);
        let torn = [fs::read(&path).unwrap(), b"{\"step\":6,\"lo".to_vec()].concat();
        fs::write(&path, torn).unwrap();
        write(6, 7);
        assert_eq!(steps(&path), [1, 2, 3, 4, 5, 6, 7]);
        write(4, 4);
        assert_eq!(steps(&path), [1, 2, 3, 4]);
        write(1, 2);
        assert_eq!(steps(&path), [1, 2]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
    }

    #[test]
    fn an_unwritable_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent").join("metrics.jsonl");
        assert!(Metrics::open(&path, 1).unwrap_err().to_string().starts_with(&path.display().to_string()));
    }
}
