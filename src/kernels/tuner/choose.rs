//! From the dispatches of a program to a choice for each class: what the cache knows, then what is measured.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use super::{
    cache::{Cache, Entry},
    effort::{Class, Options},
    trial::Trials,
};
use crate::gpu::{Error, Extents, Gpu, Kernel, KernelGroup};

/// Something that the user should know.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Worth knowing.
    Note(String),
    /// Perhaps not as wanted.
    Warning(String),
}

/// Chooses for every dispatch of a program whose class has no choice yet: what the cache knows, else what is measured. Where
/// `options` are `None`, or `go_on`, which is asked before each class, says no, portable kernels are taken. Returns what was
/// measured, for the cache, even if the device was lost.
pub fn choose(
    gpu: &Gpu,
    groups: impl IntoIterator<Item = &'static KernelGroup>,
    dispatches: impl IntoIterator<Item = (&'static Kernel, Extents)>,
    options: Option<Options>,
    cache: impl FnOnce() -> Cache,
    go_on: impl Fn() -> bool,
    mut emit: impl FnMut(Message),
) -> (Vec<Entry>, Result<(), Error>) {
    let mut classes = classes(gpu, groups, dispatches);
    let Some(options) = options.filter(|_| !classes.is_empty()) else {
        classes.into_iter().for_each(|class| gpu.choose(class.group, class.name, None));
        return (Vec::new(), Ok(()));
    };
    let cache = cache();
    classes.retain(|class| !recall(gpu, class, &cache, options));
    if classes.is_empty() {
        return (Vec::new(), Ok(()));
    }
    emit(Message::Note(format!("tuning {} kernel shapes (cached for the next time)", classes.len())));
    let mut outcome = Outcome::default();
    let done = measure(gpu, classes, &cache, options, go_on, &mut outcome);
    if done.is_ok() {
        emit(Message::Note(outcome.to_string()));
    }
    let done = done.map_err(|error| match error {
        Error::Device(reason) => Error::Device(format!(
            "{reason}; it was trying kernels. The same command passes over the one that did it, and --autotune off over all"
        )),
        other => other,
    });
    (outcome.entries, done)
}

/// The classes of a program for which nothing is chosen yet, most work first.
fn classes(
    gpu: &Gpu,
    groups: impl IntoIterator<Item = &'static KernelGroup>,
    dispatches: impl IntoIterator<Item = (&'static Kernel, Extents)>,
) -> Vec<Class> {
    let groups: HashMap<&str, &'static KernelGroup> =
        groups.into_iter().map(|group| (group.kernel.name, group)).collect();
    let mut counts: HashMap<(&str, Extents), usize> = HashMap::new();
    for (kernel, extents) in dispatches.into_iter().filter(|(kernel, _)| groups.contains_key(kernel.name)) {
        *counts.entry((kernel.name, extents)).or_default() += 1;
    }
    let mut classes: BTreeMap<(&str, String), Class> = BTreeMap::new();
    for ((kernel, extents), count) in counts {
        let group = groups[kernel];
        let name = (group.class)(&extents.params);
        if gpu.chosen(group, &name).is_none() {
            let new = || Class { group, name: name.clone(), dispatches: Vec::new() };
            classes.entry((kernel, name.clone())).or_insert_with(new).dispatches.push((extents, count));
        }
    }
    let mut classes: Vec<Class> = classes.into_values().collect();
    for Class { group, dispatches, .. } in &mut classes {
        // The heaviest last; of equals, by something that no hash decides.
        let weight = |(e, n): &(Extents, usize)| (group.trial.work)(&e.params) * *n as f64;
        dispatches.sort_by(|a, b| weight(a).total_cmp(&weight(b)).then_with(|| a.0.params.cmp(&b.0.params)));
    }
    classes.sort_by(|a, b| b.work().total_cmp(&a.work()));
    classes
}

/// Takes what the cache knows of a class, if it knows anything.
fn recall(gpu: &Gpu, Class { group, name, .. }: &Class, cache: &Cache, options: Options) -> bool {
    let mut entries = cache.entries().iter().filter(|entry| {
        let measured = !entry.seconds.is_empty(); // else the device was lost: once more, without the variant that did it
        measured && entry.class == *name && entry.half == options.half && entry.effort >= Some(options.effort)
    });
    let choice = entries.find_map(|entry| entry.usable(gpu, group));
    if let Some(choice) = choice {
        gpu.choose(group, name.clone(), choice);
    }
    choice.is_some()
}

/// Tries variants class after class; the last of the entries holds the variant that was being tried if the device is lost.
fn measure(
    gpu: &Gpu,
    classes: Vec<Class>,
    cache: &Cache,
    options: Options,
    go_on: impl Fn() -> bool,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let began = gpu.clock().now();
    let total: f64 = classes.iter().map(Class::work).sum();
    let mut trials = Trials::new(gpu, options);
    cache.entries().iter().for_each(|entry| trials.distrust(entry));
    let mut done = 0.0;
    for class in classes {
        let in_time = gpu.clock().now() - began < options.effort.limit();
        let worth = done < options.effort.share() * total && in_time;
        done += class.work();
        let mut entry = Entry::new(class.group, &class.name, None);
        let choice = if worth && go_on() { trials.class(&class, &mut entry) } else { Ok(None) };
        let choice = match choice {
            Ok(Some((choice, seconds))) => {
                let times: f64 = class.dispatches.iter().map(|(_, count)| *count as f64).sum();
                outcome.seconds.iter_mut().zip(seconds).for_each(|(sum, each)| *sum += each * times);
                outcome.entries.push(entry);
                choice
            }
            Ok(None) | Err(Error::OutOfMemory { .. }) => {
                outcome.left += 1;
                None
            }
            Err(error) => {
                outcome.entries.push(entry);
                return Err(error);
            }
        };
        gpu.choose(class.group, class.name, choice);
    }
    Ok(())
}

/// What tuning found.
#[derive(Default)]
struct Outcome {
    /// Of each class that was measured.
    entries: Vec<Entry>,
    /// Classes that were left as they are, for lack of time or memory or because they hardly matter.
    left: usize,
    /// Seconds that the measured classes take in one run of the program, by portable kernels and by what was chosen.
    seconds: [f64; 2],
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tuned, changed) =
            (self.entries.len(), self.entries.iter().filter(|entry| entry.variant.is_some()).count());
        write!(f, "kernels: {changed} of {tuned} shapes take another variant than the portable one")?;
        let [portable, chosen] = self.seconds;
        if changed > 0 && chosen > 0.0 {
            write!(f, ", {:.2} times as fast", portable / chosen)?;
        }
        let mut wrong: Vec<&str> =
            self.entries.iter().flat_map(|entry| entry.rejected.keys().map(String::as_str)).collect();
        wrong.sort_unstable();
        wrong.dedup();
        if !wrong.is_empty() {
            write!(f, "; not right on this device: {}", wrong.join(", "))?;
        }
        match self.left {
            0 => Ok(()),
            left => write!(f, "; {left} smaller ones were left as they are"),
        }
    }
}
