//! Variants on trial: whether they are right, and which is fastest.

use std::{
    collections::{HashMap, HashSet},
    mem::take,
};

use serde::Serialize;

use super::{
    benchmark::benchmark,
    cache::Entry,
    compare::{Fault, Output, same_bits, same_values},
    effort::{Class, Effort, Options},
    scratch::{Fills, Scratch},
};
use crate::gpu::{Choice, Error, Extents, Gpu, KernelGroup, Program, Variant};

/// By how much a variant must be faster than the portable kernel.
const GAIN: f64 = 0.97;
/// Scratch memory that any device has, whatever the run was planned for.
const LITTLE: u64 = 64 << 20;

/// A variant: its group's kernel, the digest of the group's shaders, its own name.
type Name = [String; 3];

fn name(entry: &Entry, variant: &str) -> Name {
    [entry.group.clone(), entry.sources.clone(), variant.into()]
}

/// Variants on trial.
pub(super) struct Trials<'g> {
    gpu: &'g Gpu,
    options: Options,
    /// Those that were wrong once on this device, at whatever shape, and why.
    distrusted: HashMap<Name, String>,
    /// Those that were right at ragged shapes.
    trusted: HashSet<Name>,
}

impl<'g> Trials<'g> {
    pub(super) fn new(gpu: &'g Gpu, options: Options) -> Self {
        Self { gpu, options, distrusted: HashMap::new(), trusted: HashSet::new() }
    }

    /// The choice for a class and the seconds of a dispatch of the portable kernel and of it; `None` if there is no memory to
    /// find out.
    pub(super) fn class(&mut self, class: &Class, entry: &mut Entry) -> Result<Option<(Choice, [f64; 2])>, Error> {
        let Options { effort, half, planned } = self.options;
        (entry.half, entry.effort) = (half, Some(effort));
        let first = class.dispatches.len().saturating_sub(effort.dispatches());
        let dispatches: Vec<&Extents> = class.dispatches[first..].iter().map(|(extents, _)| extents).collect();
        let needed = dispatches.iter().map(|extents| Scratch::bytes(extents)).max().unwrap_or(0) + Fills::bytes();
        if needed > planned.max(LITTLE) {
            return Ok(None);
        }
        let fills = Fills::new(self.gpu)?;
        let candidates = self.candidates(class, entry);
        let is_new = |variant: &&Variant| !self.trusted.contains(&name(entry, variant.name));
        let (new, mut variants): (Vec<_>, Vec<_>) = candidates.into_iter().partition(is_new);
        let new = self.compare_ragged(&fills, class.group, new, entry)?;
        self.trusted.extend(new.iter().map(|variant| name(entry, variant.name)));
        variants.extend(new);
        let mut last = None;
        for extents in dispatches {
            drop(last.take());
            last = Some(self.compare(&fills, class.group, extents, &mut variants, entry)?);
        }
        self.distrust(entry);
        let Some(scratch) = last else { return Ok(None) };
        let programs: Vec<Program> = [None]
            .into_iter()
            .chain(variants.iter().copied().map(Some))
            .map(|variant| scratch.program(variant))
            .collect();
        let seconds = benchmark(self.gpu, &programs, effort.pace())?;
        entry.seconds.insert(String::new(), seconds[0]);
        entry
            .seconds
            .extend(variants.iter().zip(&seconds[1..]).map(|(variant, seconds)| (variant.name.into(), *seconds)));
        let fastest = variants.iter().zip(&seconds[1..]).min_by(|a, b| a.1.total_cmp(b.1));
        let taken = fastest.filter(|(_, taken)| **taken < GAIN * seconds[0]);
        entry.variant = taken.map(|(variant, _)| variant.name.into());
        Ok(Some((taken.map(|(variant, _)| *variant), [seconds[0], taken.map_or(seconds[0], |(_, taken)| *taken)])))
    }

    /// Those of the variants that are right at every ragged shape that they take; why others are not is noted.
    fn compare_ragged(
        &self,
        fills: &Fills,
        group: &'static KernelGroup,
        mut right: Vec<&'static Variant>,
        entry: &mut Entry,
    ) -> Result<Vec<&'static Variant>, Error> {
        for extents in (group.trial.ragged)() {
            let takes = |variant: &&Variant| (variant.grid)(&extents.params).is_some();
            let (mut taking, others): (Vec<_>, Vec<_>) = right.into_iter().partition(takes);
            self.compare(fills, group, &extents, &mut taking, entry)?;
            right = [taking, others].concat();
        }
        Ok(right)
    }

    /// The variants that the device has for all shapes of a class, but for those that were wrong before.
    fn candidates(&self, class: &Class, entry: &mut Entry) -> Vec<&'static Variant> {
        let takes = |variant: &Variant| class.dispatches.iter().all(|(e, _)| (variant.grid)(&e.params).is_some());
        let offered =
            |variant: &&Variant| (self.options.half || !variant.half) && self.gpu.offers(variant) && takes(variant);
        let mut variants: Vec<_> = class.group.variants.iter().filter(offered).collect();
        variants.retain(|variant| {
            let known = self.distrusted.get(&name(entry, variant.name));
            entry.rejected.extend(known.map(|why| (variant.name.into(), why.clone())));
            known.is_none()
        });
        variants
    }

    pub(super) fn distrust(&mut self, entry: &Entry) {
        self.distrusted.extend(entry.rejected.iter().map(|(variant, why)| (name(entry, variant), why.clone())));
    }

    /// Leaves the variants whose results are right at these extents, and notes why the others' are not. Nothing is left where
    /// the portable kernel gives no numbers to compare with.
    fn compare(
        &self,
        fills: &Fills,
        group: &'static KernelGroup,
        extents: &Extents,
        variants: &mut Vec<&'static Variant>,
        entry: &mut Entry,
    ) -> Result<Scratch<'g>, Error> {
        let mut scratch = Scratch::new(self.gpu, fills, group, extents)?;
        let mut portable = scratch.program(None);
        let mut reference = scratch.run(&mut portable, false)?;
        let after_known = scratch.run(&mut portable, true)?;
        // It adds to what is there, or leaves some of it: then variants may make something else of poison.
        let known = same_bits(&reference, &after_known).is_err();
        if known {
            reference = after_known;
        }
        let sound = reference.iter().all(|output| output.clean && output.not_numbers() == 0);
        let mut right = Vec::new();
        for variant in take(variants).into_iter().filter(|_| sound) {
            // Should the device be lost now, the next run passes over this variant.
            entry.rejected.insert(variant.name.into(), "the device was lost in its trial".into());
            match self.attempt(&mut scratch, variant, &reference, known)? {
                Ok(()) => {
                    entry.rejected.remove(variant.name);
                    right.push(variant);
                }
                Err(fault) => {
                    entry.rejected.insert(variant.name.into(), fault.to_string());
                }
            }
        }
        *variants = right;
        Ok(scratch)
    }

    /// Whether a variant is right.
    fn attempt(
        &self,
        scratch: &mut Scratch<'g>,
        variant: &'static Variant,
        reference: &[Output],
        known: bool,
    ) -> Result<Result<(), Fault>, Error> {
        let (done, refused) = self.gpu.guarded(|| -> Result<_, Error> {
            let mut program = scratch.program(Some(variant));
            Ok([scratch.run(&mut program, known)?, scratch.run(&mut program, known)?])
        });
        if let Some(reason) = refused {
            return Ok(Err(Fault::Refused(reason)));
        }
        let [first, second] = done?;
        Ok(same_values(reference, &first, variant.half).and_then(|()| same_bits(&first, &second)))
    }
}

/// Whether one variant is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Validation {
    /// The portable kernel's name.
    #[serde(rename = "family")]
    pub group: String,
    /// The variant's.
    #[serde(rename = "form")]
    pub variant: String,
    /// What is wrong with it; `None`: nothing.
    pub wrong: Option<String>,
}

/// Tries every variant of a group that the device offers at ragged shapes, those that round to f16 among them.
///
/// # Errors
/// If the device is lost on the way.
pub fn validate(gpu: &Gpu, group: &'static KernelGroup) -> Result<Vec<Validation>, Error> {
    let trials = Trials::new(gpu, Options { effort: Effort::Quick, half: true, planned: 0 });
    let mut entry = Entry::new(group, "", None);
    let offered: Vec<_> = group.variants.iter().filter(|variant| gpu.offers(variant)).collect();
    let right = trials.compare_ragged(&Fills::new(gpu)?, group, offered.clone(), &mut entry)?;
    let unsound = || "its portable kernel gives no numbers to compare with".to_owned();
    let wrong = |name: &str| {
        let passed = right.iter().any(|variant| variant.name == name);
        (!passed).then(|| entry.rejected.get(name).cloned().unwrap_or_else(unsound))
    };
    let result =
        |name: &str| Validation { group: group.kernel.name.into(), variant: name.into(), wrong: wrong(name) };
    Ok(offered.iter().map(|variant| result(variant.name)).collect())
}
