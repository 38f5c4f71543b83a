//! Chooses the forms of kernels on the device at hand, by trying them on the shapes of a program.
//!
//! A form is taken only if it is right: its results are those of the portable form but for rounding, at the shapes of the
//! program and at small ragged ones, twice with the same bits, with nothing written behind its outputs and nothing made of
//! what lies behind its inputs. Of those that are right the fastest is taken. It knows kernels and bytes, not models; it
//! prints nothing.

mod book;
mod judge;
mod race;
mod scratch;
mod settle;
mod trust;
mod verdict;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem::take,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Alternative, Error, Extents, Family, Form, Gpu, Kernel, Program};

pub use book::{Book, Entry, Error as BookError, cache_folder};
pub use judge::{Judged, judge};
use race::{Pace, race};
use scratch::{Fills, Scratch};
pub use settle::{Told, settle};
pub use trust::{Wrong, keep, wrong};
use verdict::{Fault, Output, same_bits, same_values};

/// By how much a form must be faster than the portable one.
const GAIN: f64 = 0.97;
/// Scratch memory that any device has, whatever the run was planned for.
const LITTLE: u64 = 64 << 20;

/// How much is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// What makes up most of the work, for about ten seconds.
    Quick,
    /// Everything, as long as it takes.
    Full,
}

impl Effort {
    /// Share of the work that is tuned.
    fn share(self) -> f64 {
        if self == Self::Quick { 0.95 } else { 1.0 }
    }

    /// After this, no shape is begun.
    fn limit(self) -> Duration {
        if self == Self::Quick { Duration::from_secs(10) } else { Duration::MAX }
    }

    /// Different dispatches of a class that forms are compared at.
    fn variants(self) -> usize {
        if self == Self::Quick { 2 } else { 8 }
    }

    fn pace(self) -> Pace {
        match self {
            Self::Quick => Pace { rounds: 3, turn: Duration::from_millis(10) },
            Self::Full => Pace { rounds: 7, turn: Duration::from_millis(20) },
        }
    }
}

/// What may be chosen, and at what cost.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time.
    pub effort: Effort,
    /// Whether forms that round factors to f16 may be taken.
    pub half: bool,
    /// Device memory that the run was planned for, in bytes. It is not allocated yet.
    pub planned: u64,
}

/// Dispatches of one class.
struct Class {
    family: &'static Family,
    name: String,
    /// How often each occurs.
    variants: Vec<(Extents, usize)>,
}

impl Class {
    fn work(&self) -> f64 {
        self.variants.iter().map(|(extents, count)| (self.family.trial.work)(&extents.params) * *count as f64).sum()
    }
}

/// What tuning found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Of each class that was measured.
    pub entries: Vec<Entry>,
    /// Classes that were left as they are, for lack of time or memory or because they hardly matter.
    pub left: usize,
    /// Seconds that the measured classes take in one run of the program, in the portable forms and in the chosen ones.
    pub seconds: [f64; 2],
}

/// The classes of a program for which no form is chosen yet, most work first.
pub struct Tuner<'g> {
    gpu: &'g Gpu,
    classes: Vec<Class>,
}

impl<'g> Tuner<'g> {
    /// Sorts the dispatches of a program.
    pub fn new(
        gpu: &'g Gpu,
        families: impl IntoIterator<Item = &'static Family>,
        dispatches: impl IntoIterator<Item = (&'static Kernel, Extents)>,
    ) -> Self {
        let families: HashMap<&str, &'static Family> =
            families.into_iter().map(|family| (family.kernel.name, family)).collect();
        let mut counts: HashMap<(&str, Extents), usize> = HashMap::new();
        for (kernel, extents) in dispatches {
            if families.contains_key(kernel.name) {
                *counts.entry((kernel.name, extents)).or_default() += 1;
            }
        }
        let mut classes: BTreeMap<(&str, String), Class> = BTreeMap::new();
        for ((kernel, extents), count) in counts {
            let family = families[kernel];
            let name = (family.class)(&extents.params);
            if gpu.chosen(family, &name).is_none() {
                let new = || Class { family, name: name.clone(), variants: Vec::new() };
                classes.entry((kernel, name.clone())).or_insert_with(new).variants.push((extents, count));
            }
        }
        let mut classes: Vec<Class> = classes.into_values().collect();
        for Class { family, variants, .. } in &mut classes {
            // The heaviest last; of equals, by something that no hash decides.
            let weight = |(e, n): &(Extents, usize)| (family.trial.work)(&e.params) * *n as f64;
            variants.sort_by(|a, b| weight(a).total_cmp(&weight(b)).then_with(|| a.0.params.cmp(&b.0.params)));
        }
        classes.sort_by(|a, b| b.work().total_cmp(&a.work()));
        Self { gpu, classes }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether every class has its form.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Takes what a cache knows.
    pub fn recall(&mut self, cache: &Book, options: Options) {
        let gpu = self.gpu;
        self.classes.retain(|Class { family, name, .. }| {
            let mut entries = cache.entries().iter().filter(|entry| {
                let measured = !entry.seconds.is_empty(); // else the device was lost: once more, without the form that did it
                let known =
                    entry.class == *name && entry.half == options.half && entry.effort >= Some(options.effort);
                known && measured
            });
            let form = entries.find_map(|entry| usable(gpu, family, entry));
            if let Some(form) = form {
                gpu.choose(family, name.clone(), form);
            }
            form.is_none()
        });
    }

    /// Takes the portable forms.
    pub fn portable(self) {
        self.classes.into_iter().for_each(|class| self.gpu.choose(class.family, class.name, None));
    }

    /// Tries forms while `go_on`, class after class; the rest takes the portable ones.
    ///
    /// # Errors
    /// If the device is lost: then nothing computed since can be trusted. The entries found so far come along, the last of
    /// which holds the form that was being tried.
    pub fn tune(
        self,
        cache: &Book,
        options: Options,
        go_on: impl Fn() -> bool,
    ) -> Result<Outcome, (Vec<Entry>, Error)> {
        let began = Instant::now();
        let total: f64 = self.classes.iter().map(Class::work).sum();
        let mut outcome = Outcome::default();
        let mut trials = Trials { gpu: self.gpu, options, distrusted: HashMap::new(), trusted: HashSet::new() };
        cache.entries().iter().for_each(|entry| trials.distrust(entry));
        let mut done = 0.0;
        for class in self.classes {
            let worth = done < options.effort.share() * total && began.elapsed() < options.effort.limit();
            done += class.work();
            let mut entry = Entry::new(class.family, &class.name, None);
            let form = match worth && go_on() {
                true => trials.class(&class, &mut entry),
                false => Ok(None),
            };
            match form {
                Ok(Some((form, seconds))) => {
                    let times: f64 = class.variants.iter().map(|(_, count)| *count as f64).sum();
                    outcome.seconds[0] += seconds[0] * times;
                    outcome.seconds[1] += seconds[1] * times;
                    self.gpu.choose(class.family, class.name, form);
                    outcome.entries.push(entry);
                }
                Ok(None) | Err(Error::OutOfMemory { .. }) => {
                    self.gpu.choose(class.family, class.name, None);
                    outcome.left += 1;
                }
                Err(error) => {
                    outcome.entries.push(entry);
                    return Err((outcome.entries, error));
                }
            }
        }
        Ok(outcome)
    }
}

/// The form that an entry names, if this device offers it and its shaders are still the same.
fn usable(gpu: &Gpu, family: &'static Family, entry: &Entry) -> Option<Form> {
    let form = family.form(entry.form.as_deref()).filter(|_| entry.family == family.kernel.name)?;
    let allowed = |form: &Alternative| gpu.offers(form) && (entry.half || !form.half);
    (form.is_none_or(allowed) && entry.sources == book::sources(family)).then_some(form)
}

/// Takes every choice that a run has recorded; `false` if one of them cannot be taken any more.
pub fn recall_all(gpu: &Gpu, families: impl IntoIterator<Item = &'static Family>, record: &Book) -> bool {
    let families: HashMap<&str, &'static Family> =
        families.into_iter().map(|family| (family.kernel.name, family)).collect();
    let found = record.entries().iter().map(|entry| {
        let family = *families.get(entry.family.as_str())?;
        Some((family, entry.class.clone(), usable(gpu, family, entry)?))
    });
    let Some(found) = found.collect::<Option<Vec<_>>>() else { return false };
    found.into_iter().for_each(|(family, class, form)| gpu.choose(family, class, form));
    true
}

/// Everything that is chosen on a device, for a run to record.
pub fn chosen(gpu: &Gpu) -> Vec<Entry> {
    let half = gpu.allows_half();
    let entry = |(family, class, form): (_, String, _)| Entry { half, ..Entry::new(family, &class, form) };
    gpu.choices().into_iter().map(entry).collect()
}

/// A form: its family's kernel, the digest of the family's shaders, its own name.
type Name = [String; 3];

fn name(entry: &Entry, form: &str) -> Name {
    [entry.family.clone(), entry.sources.clone(), form.into()]
}

/// Forms on trial.
struct Trials<'g> {
    gpu: &'g Gpu,
    options: Options,
    /// Those that were wrong once on this device, at whatever shape, and why.
    distrusted: HashMap<Name, String>,
    /// Those that were right at ragged shapes.
    trusted: HashSet<Name>,
}

impl<'g> Trials<'g> {
    /// The form for a class and the seconds of a dispatch in the portable form and in it; `None` if there is no memory to
    /// find out.
    fn class(&mut self, class: &Class, entry: &mut Entry) -> Result<Option<(Form, [f64; 2])>, Error> {
        let Options { effort, half, planned } = self.options;
        (entry.half, entry.effort) = (half, Some(effort));
        let first = class.variants.len().saturating_sub(effort.variants());
        let variants: Vec<&Extents> = class.variants[first..].iter().map(|(extents, _)| extents).collect();
        let needed = variants.iter().map(|extents| Scratch::bytes(extents)).max().unwrap_or(0) + Fills::bytes();
        if needed > planned.max(LITTLE) {
            return Ok(None);
        }
        let fills = Fills::new(self.gpu)?;
        let mut forms = self.candidates(class, entry);
        let is_new = |form: &&&Alternative| !self.trusted.contains(&name(entry, form.name));
        let mut new: Vec<_> = forms.iter().filter(is_new).copied().collect();
        forms.retain(|form| !new.iter().any(|new| new.name == form.name));
        for extents in (class.family.trial.ragged)() {
            let (mut takes, others) = new.into_iter().partition(|form| (form.grid)(&extents.params).is_some());
            self.compare(&fills, class.family, &extents, &mut takes, entry)?;
            new = [takes, others].concat();
        }
        self.trusted.extend(new.iter().map(|form| name(entry, form.name)));
        forms.extend(new);
        let mut last = None;
        for extents in variants {
            drop(last.take());
            last = Some(self.compare(&fills, class.family, extents, &mut forms, entry)?);
        }
        self.distrust(entry);
        let Some(scratch) = last else { return Ok(None) };
        let programs: Vec<Program> =
            [None].into_iter().chain(forms.iter().copied().map(Some)).map(|form| scratch.program(form)).collect();
        let seconds = race(self.gpu, &programs, effort.pace())?;
        entry.seconds.insert(String::new(), seconds[0]);
        entry.seconds.extend(forms.iter().zip(&seconds[1..]).map(|(form, seconds)| (form.name.into(), *seconds)));
        let fastest = forms.iter().zip(&seconds[1..]).min_by(|a, b| a.1.total_cmp(b.1));
        let taken = fastest.filter(|(_, taken)| **taken < GAIN * seconds[0]);
        entry.form = taken.map(|(form, _)| form.name.into());
        Ok(Some((taken.map(|(form, _)| *form), [seconds[0], taken.map_or(seconds[0], |(_, taken)| *taken)])))
    }

    /// The forms that the device has for all shapes of a class, but for those that were wrong before.
    fn candidates(&self, class: &Class, entry: &mut Entry) -> Vec<&'static Alternative> {
        let takes = |form: &Alternative| class.variants.iter().all(|(e, _)| (form.grid)(&e.params).is_some());
        let offered = |form: &&Alternative| (self.options.half || !form.half) && self.gpu.offers(form) && takes(form);
        let mut forms: Vec<_> = class.family.alternatives.iter().filter(offered).collect();
        forms.retain(|form| {
            let known = self.distrusted.get(&name(entry, form.name));
            entry.rejected.extend(known.map(|why| (form.name.into(), why.clone())));
            known.is_none()
        });
        forms
    }

    fn distrust(&mut self, entry: &Entry) {
        self.distrusted.extend(entry.rejected.iter().map(|(form, why)| (name(entry, form), why.clone())));
    }

    /// Leaves the forms whose results are right at these extents, and notes why the others' are not. Nothing is left where
    /// the portable form gives no numbers to compare with.
    fn compare(
        &self,
        fills: &Fills,
        family: &'static Family,
        extents: &Extents,
        forms: &mut Vec<&'static Alternative>,
        entry: &mut Entry,
    ) -> Result<Scratch<'g>, Error> {
        let mut scratch = Scratch::new(self.gpu, fills, family, extents)?;
        let mut portable = scratch.program(None);
        let mut reference = scratch.run(&mut portable, false)?;
        let after_known = scratch.run(&mut portable, true)?;
        // It adds to what is there, or leaves some of it: then forms may make something else of poison.
        let known = same_bits(&reference, &after_known).is_err();
        if known {
            reference = after_known;
        }
        let sound = reference.iter().all(|output| output.clean && output.not_numbers() == 0);
        let mut right = Vec::new();
        for form in take(forms).into_iter().filter(|_| sound) {
            // Should the device be lost now, the next run passes over this form.
            entry.rejected.insert(form.name.into(), "the device was lost in its trial".into());
            match self.attempt(&mut scratch, form, &reference, known)? {
                Ok(()) => {
                    entry.rejected.remove(form.name);
                    right.push(form);
                }
                Err(fault) => {
                    entry.rejected.insert(form.name.into(), fault.to_string());
                }
            }
        }
        *forms = right;
        Ok(scratch)
    }

    /// Whether a form is right.
    fn attempt(
        &self,
        scratch: &mut Scratch<'g>,
        form: &'static Alternative,
        reference: &[Output],
        known: bool,
    ) -> Result<Result<(), Fault>, Error> {
        let (done, refused) = self.gpu.guarded(|| -> Result<_, Error> {
            let mut program = scratch.program(Some(form));
            Ok([scratch.run(&mut program, known)?, scratch.run(&mut program, known)?])
        });
        if let Some(reason) = refused {
            return Ok(Err(Fault::Refused(reason)));
        }
        let [first, second] = done?;
        Ok(same_values(reference, &first, form.half).and_then(|()| same_bits(&first, &second)))
    }
}
