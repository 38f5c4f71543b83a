//! Every form that a device offers, tried at ragged shapes: whether it is right, not whether it is fast.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Effort, Entry, Error, Family, Fills, Gpu, Options, Trials};

/// What became of one form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The portable kernel's name.
    pub family: String,
    /// The form's.
    pub form: String,
    /// What is wrong with it; `None`: nothing.
    pub wrong: Option<String>,
}

/// Tries every form of a family that the device offers, those that round to f16 among them.
///
/// # Errors
/// If the device is lost on the way.
pub fn judge(gpu: &Gpu, family: &'static Family) -> Result<Vec<Judged>, Error> {
    let options = Options { effort: Effort::Quick, half: true, planned: 0 };
    let trials = Trials { gpu, options, distrusted: HashMap::new(), trusted: HashSet::new() };
    let fills = Fills::new(gpu)?;
    let mut entry = Entry::new(family, "", None);
    let offered: Vec<_> = family.alternatives.iter().filter(|form| gpu.offers(form)).collect();
    let mut right = offered.clone();
    for extents in (family.trial.ragged)() {
        let (mut takes, others): (Vec<_>, Vec<_>) =
            right.into_iter().partition(|form| (form.grid)(&extents.params).is_some());
        trials.compare(&fills, family, &extents, &mut takes, &mut entry)?;
        right = [takes, others].concat();
    }
    let unsound = || "its portable form gives no numbers to compare with".to_owned();
    let wrong = |name: &str| {
        let passed = right.iter().any(|form| form.name == name);
        (!passed).then(|| entry.rejected.get(name).cloned().unwrap_or_else(unsound))
    };
    let judged = |name: &str| Judged { family: family.kernel.name.into(), form: name.into(), wrong: wrong(name) };
    Ok(offered.iter().map(|form| judged(form.name)).collect())
}
