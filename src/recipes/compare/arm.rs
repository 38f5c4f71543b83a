//! The arms of a comparison: what each does after the plain fine-tuning that all of them share.

use std::path::{Path, PathBuf};

use crate::{
    objective,
    session::Error,
    settings::{self, Config},
};

/// An arm: what it does with the model M1 that plain fine-tuning made of M0, with settings of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arm {
    /// As given: `wmss`, `mix:lambda=0.7`.
    pub name: String,
    method: &'static str,
    drawn: bool,
    settings: Vec<String>,
}

/// Arms whose samples are drawn by the curriculum, and their methods. All others are methods by name.
const DRAWN: [(&str, &str); 2] = [("curriculum", "sft"), ("wmss", "mix")];

/// Settings that make runs comparable, so no arm has its own.
const SHARED: &[&str] = &["method", "model", "data", "out", "held_out", "seed", "epochs", "max_steps", "resume"];

/// The arm that others are compared with.
pub(super) const BASELINE: &str = "sft";

impl Arm {
    /// Reads a comma-separated list of `KIND[:key=value...]`. The baseline comes first, whether named or not.
    ///
    /// # Errors
    /// Names an arm that does not exist, comes twice, or sets what all arms share.
    pub fn list(text: &str) -> Result<Vec<Self>, Error> {
        let mut arms = vec![Self::read(BASELINE)?];
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != BASELINE) {
            let arm = Self::read(name)?;
            if let Some(twin) = arms.iter().find(|other| other.folder() == arm.folder()) {
                return Err(Error::Usage(format!("--arms: {name} and {} are one arm; leave one out", twin.name)));
            }
            arms.push(arm);
        }
        Ok(arms)
    }

    fn read(name: &str) -> Result<Self, Error> {
        let mut parts = name.split(':');
        let wanted = parts.next().unwrap_or_default();
        let plain = objective::methods().map(|method| (method.name, method.name, false));
        let kinds: Vec<_> = plain.chain(DRAWN.map(|(name, method)| (name, method, true))).collect();
        let &(_, method, drawn) = kinds.iter().find(|(name, ..)| *name == wanted).ok_or_else(|| {
            let known: Vec<&str> = kinds.iter().map(|(name, ..)| *name).collect();
            Error::Usage(format!(
                "--arms: there is no arm {wanted:?}; the arms are {}, each with settings of its own as in \
                 mix:lambda=0.7:weak_source=shuffled",
                known.join(", ")
            ))
        })?;
        let settings: Vec<String> = parts.map(str::to_owned).collect();
        let key = |setting: &String| setting.split('=').next().unwrap_or_default().trim().to_owned();
        match settings.iter().map(key).find(|key| SHARED.contains(&key.as_str())) {
            Some(key) => Err(Error::Usage(format!(
                "--arms: {name}: `{key}` is the same for all arms; leave it out here, and set it for the comparison"
            ))),
            None => Ok(Self { name: name.into(), method, drawn, settings }),
        }
    }

    /// The name of its folder.
    pub(super) fn folder(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._=".contains(c) { c } else { '-' };
        self.name.chars().map(plain).collect()
    }

    /// Whether its samples are drawn by the curriculum.
    pub(super) fn is_drawn(&self) -> bool {
        self.drawn
    }

    /// Its settings as a run of its own, from `m1` with the earlier model `m0`; `weights` is the curriculum's file.
    ///
    /// # Errors
    /// If a setting of its own cannot be.
    pub(super) fn config(
        &self,
        base: &Config,
        [m0, m1]: [&Path; 2],
        weights: PathBuf,
        out: &Path,
    ) -> Result<Config, settings::Error> {
        let first = Config {
            model: Some(m1.into()),
            weak: Vec::new(),
            teacher: None,
            weights: self.drawn.then_some(weights),
            out: Some(out.join(self.folder())),
            ..base.clone()
        };
        let method = format!("method={}", self.method);
        let mut first = first.with(&[method])?;
        (objective::method(&first).compare)(&mut first, base, m0);
        first.with(&self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_are_read() {
        let arms = Arm::list("wmss, mix:weak_source=shuffled:lambda=0.7,sft").unwrap();
        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(names, ["sft", "wmss", "mix:weak_source=shuffled:lambda=0.7"]);
        let config = arms[2]
            .config(&Config::default(), [Path::new("m0"), Path::new("m1")], "w".into(), Path::new("out"))
            .unwrap();
        assert_eq!(config.weak_source, settings::WeakSource::Shuffled);
        assert_eq!((config.lambda, config.model, config.weights), (0.7, Some("m1".into()), None));
        assert_eq!(config.out, Some("out/mix-weak_source=shuffled-lambda=0.7".into()));
    }

    #[test]
    fn mistakes_are_named() {
        let told = |text: &str| Arm::list(text).unwrap_err().to_string();
        assert!(told("wms").contains("no arm \"wms\"") && told("wms").contains("self-distill"), "{}", told("wms"));
        assert!(told("mix,mix").contains("one arm"));
        assert!(told("mix:lambda=0.7:seed=3").contains("`seed` is the same for all arms"));
        let arm = &Arm::list("mix:lamda=0.7").unwrap()[1];
        let wrong = arm
            .config(&Config::default(), [Path::new("a"), Path::new("b")], "w".into(), Path::new("out"))
            .unwrap_err()
            .to_string();
        assert!(wrong.contains("lamda") && wrong.contains("did you mean `lambda`"), "{wrong}");
    }
}
