//! Where the device's time went: a table for people, `profile.json` for programs.

use std::{fs, path::PathBuf};

use super::{Error, Event, Sink, format::Table};
use crate::events::Profile;

/// A file that holds the profile of a run as JSON.
pub struct ProfileFile(pub PathBuf);

impl Sink for ProfileFile {
    fn event(&mut self, event: &Event<'_>) -> Result<(), Error> {
        let Event::Profiled(profile) = event else { return Ok(()) };
        let text = serde_json::to_string_pretty(profile).map_err(Into::into);
        let written = text.and_then(|text| fs::write(&self.0, text + "\n"));
        written.map_err(|source| Error::Profile { path: self.0.clone(), source })
    }
}

impl Profile {
    /// As a table, per optimizer step.
    pub(super) fn render(&self) -> String {
        let steps = self.steps.max(1) as f64;
        let clock = if self.device_clock { "the device's clock" } else { "the host's clock, a submission each" };
        let mut table = Table::new(["op", "dispatches", "ms", "share"]);
        for op in &self.ops {
            let dispatches = format!("{:.0}", op.dispatches as f64 / steps);
            let (ms, share) = (format!("{:.3}", op.seconds * 1e3 / steps), format!("{:.1}%", op.share * 100.0));
            table.row([op.op.clone(), dispatches, ms, share]);
        }
        let each = self.seconds * 1e3 / steps;
        format!("a step's {each:.3} ms on the device, mean of {} ({clock}):\n{}", self.steps, table.render())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_by_falling_time() {
        let spent = [("add.forward", 8, 0.001), ("linear.nt", 4, 0.003), ("clear", 2, 0.0)];
        let profile = Profile::new(2, true, spent.into_iter());
        let want = "a step's 2.000 ms on the device, mean of 2 (the device's clock):\n\
                    op           dispatches     ms  share\n\
                    -----------  ----------  -----  -----\n\
                    linear.nt             2  1.500  75.0%\n\
                    add.forward           4  0.500  25.0%\n\
                    clear                 1  0.000   0.0%\n";
        assert_eq!(profile.render(), want);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.json");
        ProfileFile(path.clone()).event(&Event::Profiled(&profile)).unwrap();
        let read: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read["ops"][0]["op"], "linear.nt");
        assert_eq!(read["ops"][1]["share"], 0.25);
        let absent = folder.path().join("absent/profile.json");
        let error = ProfileFile(absent.clone()).event(&Event::Profiled(&profile)).unwrap_err();
        assert!(error.to_string().starts_with(&absent.display().to_string()));
    }
}
