//! Other forms of a kernel: the same bindings and immediates, another way to the same result.
//!
//! Programs are recorded with the portable form. When one is made for a device ([`super::Program::new`]), each dispatch
//! takes the alternative that was chosen for its shapes there, if any. So a recording, and the memory planned for it, is
//! the same on every device.

use std::collections::HashMap;

use super::{
    Kernel,
    device::{Gpu, lock},
};

/// A product of cooperative matrices: `f32 += a b` of `size` by `size` matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// Rows, columns and depth.
    pub size: u32,
    /// Whether its factors are f16, not f32.
    pub half: bool,
}

/// Another form of a kernel.
#[derive(Debug)]
pub struct Alternative {
    /// Unique within its family.
    pub name: &'static str,
    /// Takes the bindings and immediates of the family's kernel.
    pub kernel: &'static Kernel,
    /// Overrides that are not left at their defaults.
    pub constants: &'static [(&'static str, f64)],
    /// Bytes of workgroup memory with these constants.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup with these constants.
    pub invocations: u32,
    /// What it needs of the device's matrix units.
    pub cooperative: Option<Cooperative>,
    /// Whether it rounds factors to f16: not a stand-in where f32 is wanted.
    pub half: bool,
    /// Whether it is made for software drivers, and offered by those alone: it keeps more in registers than a GPU has.
    pub software: bool,
    /// Workgroups for these immediates; `None` if it does not take such extents.
    pub grid: fn(&[u8]) -> Option<[u32; 3]>,
}

/// The form that a dispatch takes; `None` is the portable one.
pub type Form = Option<&'static Alternative>;

impl Alternative {
    /// The size of subgroups that it is made for, by its constant of this name; a device that has others does not take it.
    /// One that may choose between sizes may choose another: compare the results.
    pub fn subgroup(&self) -> Option<u32> {
        let (_, size) = self.constants.iter().find(|(name, _)| *name == "SUBGROUP")?;
        Some(*size as u32)
    }
}

/// A kernel and its alternatives.
#[derive(Debug)]
pub struct Family {
    /// The portable form.
    pub kernel: &'static Kernel,
    /// Shapes of one class share a choice.
    pub class: fn(&[u8]) -> String,
    /// The others.
    pub alternatives: &'static [Alternative],
    /// How they are tried on a device.
    pub trial: Trial,
}

/// How the forms of a kernel are tried: see [`super::tune`]. All that they write must be finite f32.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Multiply-adds of a dispatch with these immediates, about: what makes up most of a run is tuned first.
    pub work: fn(&[u8]) -> f64,
    /// The words of a read-only binding, by name, where random numbers of at most 1 would not do: indices, say.
    pub fill: fn(params: &[u8], binding: &str, words: usize) -> Option<Vec<u32>>,
    /// Small dispatches with extents that no tile divides, every flag among them in each state.
    pub ragged: fn() -> Vec<Extents>,
}

/// A dispatch without its memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extents {
    /// Immediates.
    pub params: Vec<u8>,
    /// Bytes of each binding.
    pub bytes: Vec<u64>,
    /// For each binding the first one that has the same memory, most often itself.
    pub same: Vec<usize>,
    /// Workgroups of the portable form.
    pub grid: [u32; 3],
}

impl Family {
    /// The form of this name, if there is one.
    pub(super) fn form(&'static self, name: Option<&str>) -> Option<Form> {
        match name {
            None => Some(None),
            Some(name) => self.alternatives.iter().find(|form| form.name == name).map(Some),
        }
    }
}

/// Which forms a device takes, by family and class.
#[derive(Default)]
pub(super) struct Choices {
    /// Whether forms that round factors to f16 were allowed.
    half: bool,
    families: HashMap<&'static str, (&'static Family, HashMap<String, Form>)>,
}

impl Choices {
    /// Sets a choice, or forgets it; returns what was there.
    pub(super) fn set(&mut self, family: &'static Family, class: String, form: Option<Form>) -> Option<Form> {
        let (_, chosen) = self.families.entry(family.kernel.name).or_insert_with(|| (family, HashMap::new()));
        match form {
            Some(form) => chosen.insert(class, form),
            None => chosen.remove(&class),
        }
    }

    /// What was chosen, if anything was.
    pub(super) fn get(&self, family: &Family, class: &str) -> Option<Form> {
        self.families.get(family.kernel.name)?.1.get(class).copied()
    }

    /// Everything chosen, in the order of names.
    pub(super) fn all(&self) -> Vec<(&'static Family, String, Form)> {
        let families = self.families.values();
        let mut all: Vec<_> = families
            .flat_map(|(family, chosen)| chosen.iter().map(|(class, form)| (*family, class.clone(), *form)))
            .collect();
        all.sort_by(|a, b| (a.0.kernel.name, &a.1).cmp(&(b.0.kernel.name, &b.1)));
        all
    }

    /// The form for a dispatch of `kernel`, and its workgroups, if it is not the portable one.
    pub(super) fn of(&self, kernel: &Kernel, params: &[u8]) -> Option<(&'static Alternative, [u32; 3])> {
        let (family, chosen) = self.families.get(kernel.name)?;
        let alternative = (*chosen.get(&(family.class)(params))?)?;
        Some((alternative, (alternative.grid)(params)?))
    }
}

impl Gpu {
    /// From now on, programs take this form for dispatches of the family's kernel whose shapes are of this class; `None` is
    /// the portable one.
    pub fn choose(&self, family: &'static Family, class: String, form: Form) {
        lock(&self.choices).set(family, class, Some(form));
    }

    /// What was chosen for a class, if anything was.
    pub fn chosen(&self, family: &Family, class: &str) -> Option<Form> {
        lock(&self.choices).get(family, class)
    }

    /// Says whether forms that round factors to f16 may be chosen from now on. Where that is news, what was chosen is forgotten,
    /// and the answer is `true`.
    pub fn allow_half(&self, half: bool) -> bool {
        let mut choices = lock(&self.choices);
        let news = choices.half != half;
        if news {
            *choices = Choices { half, ..Choices::default() };
        }
        news
    }

    /// Whether forms that round factors to f16 may be chosen.
    pub fn allows_half(&self) -> bool {
        lock(&self.choices).half
    }

    /// Everything chosen: family, class and form, in the order of names.
    pub fn choices(&self) -> Vec<(&'static Family, String, Form)> {
        lock(&self.choices).all()
    }

    /// Does something with a form chosen for a class, and leaves the choices as they were.
    pub fn with_choice<T>(&self, family: &'static Family, class: &str, form: Form, work: impl FnOnce() -> T) -> T {
        let before = lock(&self.choices).set(family, class.into(), Some(form));
        let done = work();
        lock(&self.choices).set(family, class.into(), before);
        done
    }

    /// The chosen form of a dispatch, and its workgroups.
    pub(super) fn choice(&self, kernel: &Kernel, params: &[u8]) -> Option<(&'static Alternative, [u32; 3])> {
        lock(&self.choices).of(kernel, params)
    }
}
