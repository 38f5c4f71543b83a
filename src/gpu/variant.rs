//! Variants of a kernel: the same bindings and immediates, another way to the same result.
//!
//! Programs are recorded with the portable kernel. When one is made for a device ([`super::Program::new`]), each dispatch
//! takes the variant that was chosen for its shapes there, if any. So a recording, and the memory planned for it, is the
//! same on every device.

use std::{collections::HashMap, fmt};

use super::kernel::Kernel;

/// A product of cooperative matrices: `f32 += a b` of `size` by `size` matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// Rows, columns and depth.
    pub size: u32,
    /// Whether its factors are f16, not f32.
    pub half: bool,
}

/// Workgroups for the immediates of a dispatch; `None` if a variant does not take such extents.
pub type GridOf = dyn Fn(&[u8]) -> Option<[u32; 3]> + Sync;

/// Another way to compute what a kernel computes.
#[derive(Clone, Copy)]
pub struct Variant {
    /// Unique within its group.
    pub name: &'static str,
    /// Takes the bindings and immediates of the group's kernel.
    pub kernel: &'static Kernel,
    /// Overrides that are not left at their defaults.
    pub constants: &'static [(&'static str, f64)],
    /// Bytes of workgroup memory with these constants, or an upper bound.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup with these constants.
    pub invocations: u32,
    /// The cooperative matrices that it needs.
    pub cooperative: Option<Cooperative>,
    /// Whether it rounds factors to f16: not a stand-in where f32 is wanted.
    pub half: bool,
    /// Whether only software drivers are offered it: it keeps more in registers than a GPU has.
    pub software: bool,
    /// Its workgroups.
    pub grid: &'static GridOf,
}

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Variant {
    /// The size of subgroups that it is made for, by its constant of this name; a device that has others does not take it.
    /// One that may choose between sizes may choose another: compare the results.
    pub fn subgroup(&self) -> Option<u32> {
        let (_, size) = self.constants.iter().find(|(name, _)| *name == "SUBGROUP")?;
        Some(*size as u32)
    }
}

/// What a dispatch takes; `None` is the portable kernel.
pub type Choice = Option<&'static Variant>;

/// A kernel and its variants.
#[derive(Debug)]
pub struct KernelGroup {
    /// The portable kernel.
    pub kernel: &'static Kernel,
    /// Shapes of one class share a choice.
    pub class: fn(&[u8]) -> String,
    /// The others.
    pub variants: &'static [Variant],
    /// How they are tried on a device.
    pub trial: Trial,
}

/// How the variants of a kernel are tried: see [`crate::kernels::tuner`]. All that they write must be finite f32.
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
    /// Workgroups of the portable kernel.
    pub grid: [u32; 3],
}

impl KernelGroup {
    /// The choice of this name, if there is one; `None` names the portable kernel.
    pub fn choice(&'static self, name: Option<&str>) -> Option<Choice> {
        match name {
            None => Some(None),
            Some(name) => self.variants.iter().find(|variant| variant.name == name).map(Some),
        }
    }
}

/// What was chosen on a device, by group and class.
#[derive(Default)]
pub(super) struct Choices {
    /// Whether variants that round factors to f16 were allowed.
    pub(super) half: bool,
    pub(super) groups: HashMap<&'static str, (&'static KernelGroup, HashMap<String, Choice>)>,
}

impl Choices {
    /// Sets a choice, or forgets it; returns what was there.
    pub(super) fn set(
        &mut self,
        group: &'static KernelGroup,
        class: String,
        choice: Option<Choice>,
    ) -> Option<Choice> {
        let (_, chosen) = self.groups.entry(group.kernel.name).or_insert_with(|| (group, HashMap::new()));
        match choice {
            Some(choice) => chosen.insert(class, choice),
            None => chosen.remove(&class),
        }
    }
}
