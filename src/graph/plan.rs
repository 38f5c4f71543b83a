//! From a recording to ordered dispatches with memory: drops what is never read, and lets tensors whose lives do not
//! overlap share a slot. The peak is known before anything is allocated.
//!
//! A slot is a buffer of its own, so a tensor that is read and one that is written never meet in one buffer, which WebGPU
//! forbids within a dispatch.

use std::collections::{HashMap, HashSet};

use crate::{
    gpu::{self, Buffer, Extents, Gpu, Kernel, Program, Slice, Step},
    graph::{
        tape::{Command, Recording},
        tensor::{ELEMENT, Memory, Place, Tensor, allocation},
    },
};

/// Commands and the memory they need.
#[derive(Debug)]
pub struct Plan {
    commands: Vec<Command>,
    slots: Vec<u64>,
    slot_of: HashMap<u32, usize>,
    /// Bytes of slots that were made for what forward leaves to backward.
    kept: u64,
}

/// The slots of plans of which none runs while another does.
pub struct Slots(Vec<Buffer>);

impl Slots {
    /// The i-th has room for the i-th slot of each.
    fn sizes(plans: &[&Plan]) -> Vec<u64> {
        let count = plans.iter().map(|plan| plan.slots.len()).max().unwrap_or(0);
        let size = |i: usize| plans.iter().filter_map(|plan| plan.slots.get(i)).copied().max().unwrap_or(0);
        (0..count).map(size).collect()
    }

    /// Bytes of all of them.
    pub fn bytes(plans: &[&Plan]) -> u64 {
        Self::sizes(plans).iter().sum()
    }

    /// Allocates them.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn allocate(gpu: &Gpu, plans: &[&Plan]) -> Result<Self, gpu::Error> {
        let sizes = Self::sizes(plans).into_iter().enumerate();
        let slots = sizes.map(|(i, bytes)| gpu.buffer(&format!("slot {i}"), bytes));
        Ok(Self(slots.collect::<Result<_, _>>()?))
    }
}

/// First and last command that touch a tensor.
struct Life {
    tensor: u32,
    bytes: u64,
    first: usize,
    last: usize,
}

impl Life {
    /// Whether it lasts from before command `at` into what comes from there on.
    fn spans(&self, at: usize) -> bool {
        self.first < at && at <= self.last
    }
}

impl Plan {
    /// Plans the memory of a recording.
    pub fn new(recording: Recording) -> Self {
        let (commands, forward) = live(recording.commands, recording.forward);
        let mut lives: HashMap<u32, Life> = HashMap::new();
        for (at, command) in commands.iter().enumerate() {
            command.touches(|tensor, _, _| {
                if let Place::Tape(id) = tensor.place {
                    let life = lives.entry(id).or_insert_with(|| Life {
                        tensor: id,
                        bytes: allocation(recording.transients[id as usize]),
                        first: at,
                        last: at,
                    });
                    life.last = at;
                }
            });
        }
        let Assigned { slots, slot_of, kept } = assign(lives.into_values().collect(), forward);
        Self { commands, slots, slot_of, kept }
    }

    /// Bytes of what forward leaves to backward; the rest of [`Self::bytes`] is workspace.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Bytes of all slots: what the computation needs beside the store.
    pub fn bytes(&self) -> u64 {
        self.slots.iter().sum()
    }

    /// Bytes of the largest slot; it must be bindable.
    pub fn largest(&self) -> u64 {
        self.slots.iter().copied().max().unwrap_or(0)
    }

    /// Number of commands.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Its dispatches without their memory, for [`crate::kernels::tuner`].
    pub fn dispatches(&self) -> impl Iterator<Item = (&'static Kernel, Extents)> {
        self.commands.iter().filter_map(Command::dispatch)
    }

    /// Allocates the slots and makes a program over them and `memory`.
    pub fn load(&self, gpu: &Gpu, memory: &Memory) -> Result<Program, gpu::Error> {
        Ok(self.load_over(gpu, memory, &Slots::allocate(gpu, &[self])?))
    }

    /// Makes a program over `memory` and slots that it shares with others.
    pub fn load_over(&self, gpu: &Gpu, memory: &Memory, Slots(slots): &Slots) -> Program {
        let place = |tensor: &Tensor| self.slice(tensor, slots, memory);
        let steps = self.commands.iter().map(|command| match command {
            Command::Dispatch { kernel, bindings, params, grid, from } => Step::Dispatch {
                kernel,
                bindings: bindings.iter().map(place).collect(),
                params: params.clone(),
                grid: grid.0,
                from: *from,
            },
            Command::Clear(tensor) => Step::Clear(place(tensor)),
            Command::Copy(from, to) => Step::Copy(place(from), place(to)),
        });
        Program::new(gpu, steps.collect())
    }

    fn slice(&self, tensor: &Tensor, slots: &[Buffer], memory: &Memory) -> Slice {
        match tensor.place {
            Place::Store(_) => memory.slice(*tensor),
            Place::Tape(id) => Slice {
                buffer: slots[self.slot_of[&id]].clone(),
                offset: tensor.offset as u64 * ELEMENT,
                size: tensor.bytes(),
            },
        }
    }
}

/// The commands that something reads the result of: another live command, or whoever owns the store. And how many of them
/// are among the first `forward`.
fn live(commands: Vec<Command>, mut forward: usize) -> (Vec<Command>, usize) {
    let mut read: HashSet<Place> = HashSet::new();
    let mut kept: Vec<Command> = Vec::with_capacity(commands.len());
    let before = forward;
    for (at, command) in commands.into_iter().enumerate().rev() {
        let mut wanted = false;
        command.touches(|tensor, _, writes| {
            wanted |= writes && (matches!(tensor.place, Place::Store(_)) || read.contains(&tensor.place));
        });
        if wanted {
            command.touches(|tensor, reads, _| {
                if reads {
                    read.insert(tensor.place);
                }
            });
            kept.push(command);
        } else if at < before {
            forward -= 1;
        }
    }
    kept.reverse();
    (kept, forward)
}

struct Assigned {
    slots: Vec<u64>,
    slot_of: HashMap<u32, usize>,
    kept: u64,
}

/// Greedy by size: each tensor, largest first, takes the smallest slot that is free for all of its life. Backward begins at
/// command `backward`.
fn assign(mut lives: Vec<Life>, backward: usize) -> Assigned {
    lives.sort_by_key(|life| (std::cmp::Reverse(life.bytes), life.first, life.tensor));
    let mut slots: Vec<(u64, Vec<(usize, usize)>)> = Vec::new();
    let mut slot_of = HashMap::with_capacity(lives.len());
    let mut kept = 0;
    for life in lives {
        let free = |taken: &[(usize, usize)]| taken.iter().all(|(f, l)| life.last < *f || *l < life.first);
        // Slots are in order of falling size, so the last free one wastes least.
        let slot = slots.iter().rposition(|(_, taken)| free(taken)).unwrap_or_else(|| {
            slots.push((life.bytes, Vec::new()));
            kept += if life.spans(backward) { life.bytes } else { 0 };
            slots.len() - 1
        });
        slots[slot].1.push((life.first, life.last));
        slot_of.insert(life.tensor, slot);
    }
    Assigned { slots: slots.into_iter().map(|(bytes, _)| bytes).collect(), slot_of, kept }
}
