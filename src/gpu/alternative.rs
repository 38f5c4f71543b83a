//! Other forms of a kernel: the same bindings and immediates, another way to the same result.
//!
//! Programs are recorded with the portable form. When one is made for a device ([`super::Program::new`]), each dispatch
//! takes the alternative that was chosen for its shapes there, if any. So a recording, and the memory planned for it, is
//! the same on every device.

use std::collections::HashMap;

use super::Kernel;

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
    /// Workgroups for these immediates; `None` if it does not take such extents.
    pub grid: fn(&[u8]) -> Option<[u32; 3]>,
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
}

/// Which alternatives a device takes.
#[derive(Default)]
pub(super) struct Choices {
    families: HashMap<&'static str, (&'static Family, HashMap<String, &'static Alternative>)>,
}

impl Choices {
    /// `None` is the portable form.
    pub(super) fn set(&mut self, family: &'static Family, class: String, alternative: Option<&'static Alternative>) {
        let (_, chosen) = self.families.entry(family.kernel.name).or_insert_with(|| (family, HashMap::new()));
        match alternative {
            Some(alternative) => chosen.insert(class, alternative),
            None => chosen.remove(&class),
        };
    }

    /// The form for a dispatch of `kernel`, and its workgroups.
    pub(super) fn of(&self, kernel: &Kernel, params: &[u8]) -> Option<(&'static Alternative, [u32; 3])> {
        let (family, chosen) = self.families.get(kernel.name)?;
        let alternative = *chosen.get(&(family.class)(params))?;
        Some((alternative, (alternative.grid)(params)?))
    }
}
