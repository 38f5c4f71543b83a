//! Which variants the programs of a device take.

use std::collections::HashMap;

use super::{
    device::Gpu,
    kernel::Kernel,
    sync::lock,
    variant::{Choice, Choices, KernelGroup, Variant},
};

impl Gpu {
    /// From now on, programs take this for dispatches of the group's kernel whose shapes are of this class.
    pub fn choose(&self, group: &'static KernelGroup, class: String, choice: Choice) {
        lock(&self.choices).set(group, class, Some(choice));
    }

    /// What was chosen for a class, if anything was.
    pub fn chosen(&self, group: &KernelGroup, class: &str) -> Option<Choice> {
        lock(&self.choices).groups.get(group.kernel.name)?.1.get(class).copied()
    }

    /// Says whether variants that round factors to f16 may be chosen from now on. Where that is news, what was chosen is
    /// forgotten, and the answer is `true`.
    pub fn allow_half(&self, half: bool) -> bool {
        let mut choices = lock(&self.choices);
        let news = choices.half != half;
        if news {
            *choices = Choices { half, ..Choices::default() };
        }
        news
    }

    /// Whether variants that round factors to f16 may be chosen.
    pub fn allows_half(&self) -> bool {
        lock(&self.choices).half
    }

    /// Everything chosen: group, class and choice, in the order of names.
    pub fn choices(&self) -> Vec<(&'static KernelGroup, String, Choice)> {
        let choices = lock(&self.choices);
        let of = |(group, chosen): &(&'static KernelGroup, HashMap<String, Choice>)| {
            let group = *group;
            chosen.iter().map(|(class, choice)| (group, class.clone(), *choice)).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = choices.groups.values().flat_map(of).collect();
        all.sort_by(|a, b| (a.0.kernel.name, &a.1).cmp(&(b.0.kernel.name, &b.1)));
        all
    }

    /// Does something with a choice for a class, and leaves the choices as they were.
    pub fn with_choice<T>(
        &self,
        group: &'static KernelGroup,
        class: &str,
        choice: Choice,
        work: impl FnOnce() -> T,
    ) -> T {
        let before = lock(&self.choices).set(group, class.into(), Some(choice));
        let done = work();
        lock(&self.choices).set(group, class.into(), before);
        done
    }

    /// The variant that a dispatch takes, and its workgroups, if it is not the portable kernel.
    pub(super) fn variant(&self, kernel: &Kernel, params: &[u8]) -> Option<(&'static Variant, [u32; 3])> {
        let choices = lock(&self.choices);
        let (group, chosen) = choices.groups.get(kernel.name)?;
        let variant = (*chosen.get(&(group.class)(params))?)?;
        Some((variant, (variant.grid)(params)?))
    }
}
