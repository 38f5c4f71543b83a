//! The recorded computation, and the only place that knows the order of backward.
//!
//! Ops record dispatches over tensor handles; [`Tape::backward`] walks them in reverse. Rules of gradients: a parameter's
//! gradient accumulates over everything that uses it (the caller clears it once per optimizer step), an activation's is
//! written by its first contributor and added to by the others. Shapes only: no GPU is needed to record.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use crate::{
    gpu::{Extents, Kernel, Launch, MAX_GROUPS},
    graph::tensor::{Format, Place, Tensor},
};

/// A differentiable operation: one file in `ops/`.
pub trait Op {
    /// Records the forward kernels. The first output is the value, the others are saved for `backward`.
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor>;
    /// Records kernels that add to the gradients of the inputs.
    fn backward(&self, back: &mut Backward<'_>);
}

/// Workgroups of a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid(pub [u32; 3]);

impl Grid {
    /// `count` workgroups; beyond one dimension's limit they fold into rows, which `lib/grid.wgsl` unfolds.
    pub fn linear(count: usize) -> Self {
        let rows = count.div_ceil(MAX_GROUPS as usize).max(1);
        Self::plane(count.div_ceil(rows), rows)
    }

    /// Enough workgroups of `size` invocations for one invocation an item.
    pub fn items(count: usize, size: usize) -> Self {
        Self::linear(count.div_ceil(size))
    }

    /// `x` by `y` workgroups.
    ///
    /// # Panics
    /// If either exceeds what a dispatch can have: shapes are checked against it when a model is declared.
    pub fn plane(x: usize, y: usize) -> Self {
        let dim = |n: usize| {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            assert!(n <= MAX_GROUPS, "{n} workgroups along one dimension");
            n
        };
        Self([dim(x), dim(y), 1])
    }
}

/// One step of a recording.
#[derive(Clone, Debug)]
pub enum Command {
    /// A kernel over tensors.
    Dispatch {
        /// Which.
        kernel: &'static Kernel,
        /// One tensor per binding.
        bindings: Vec<Tensor>,
        /// Immediates.
        params: Vec<u8>,
        /// Workgroups.
        grid: Grid,
        /// Needed only when more than this many rows of the loss head are in use; see [`Tape::rows_from`].
        from: usize,
    },
    /// Fills a tensor with zeros.
    Clear(Tensor),
    /// Copies the first tensor to the second.
    Copy(Tensor, Tensor),
}

impl Command {
    /// A dispatch's kernel, and the dispatch without its memory.
    pub fn dispatch(&self) -> Option<(&'static Kernel, Extents)> {
        let Self::Dispatch { kernel, bindings, params, grid, .. } = self else { return None };
        let begins = |tensor: &Tensor| (tensor.place, tensor.offset);
        let first = |tensor| bindings.iter().position(|other| begins(other) == begins(tensor)).unwrap_or_default();
        let extents = Extents {
            params: params.clone(),
            bytes: bindings.iter().map(Tensor::bytes).collect(),
            same: bindings.iter().map(first).collect(),
            grid: grid.0,
        };
        Some((kernel, extents))
    }

    /// Calls `visit(tensor, reads, writes)` for everything the command touches.
    pub fn touches(&self, mut visit: impl FnMut(Tensor, bool, bool)) {
        match self {
            Self::Dispatch { kernel, bindings, .. } => {
                for (binding, tensor) in kernel.bindings.iter().zip(bindings) {
                    visit(*tensor, binding.reads, binding.writes);
                }
            }
            Self::Clear(tensor) => visit(*tensor, false, true),
            Self::Copy(from, to) => {
                visit(*from, true, false);
                visit(*to, false, true);
            }
        }
    }
}

/// A finished tape: what to run, and the elements of each tensor it made.
#[derive(Debug)]
pub struct Recording {
    /// In order.
    pub commands: Vec<Command>,
    /// Elements of `Place::Tape(i)`.
    pub transients: Vec<usize>,
    /// How many commands come before those of the reverse walk.
    pub forward: usize,
}

struct Node {
    op: Rc<dyn Op>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

enum Entry {
    Node(Node),
    /// Nodes whose outputs, but for the last one's, are computed again in backward.
    Segment(Vec<Node>),
}

/// Where an op writes a gradient: `accumulate` is 1 if it must add to what is there.
#[derive(Clone, Copy, Debug)]
pub struct Gradient {
    /// The gradient, in its tensor's shape.
    pub tensor: Tensor,
    /// 0: overwrite, 1: add.
    pub accumulate: u32,
}

/// Records ops and derives their backward.
#[derive(Default)]
pub struct Tape {
    commands: Vec<Command>,
    transients: Vec<usize>,
    entries: Vec<Entry>,
    /// Gradients of parameters, given by the caller.
    parameters: HashMap<Place, Tensor>,
    /// Tensors through which a gradient flows.
    needs: HashSet<Place>,
    /// Gradients of activations not yet consumed.
    gradients: HashMap<Place, Tensor>,
    /// How many unconsumed gradients share a tensor (see [`Backward::alias`]).
    holders: HashMap<Place, u32>,
    from: usize,
    /// Commands recorded before the reverse walk began.
    forward: Option<usize>,
    keys: Option<Tensor>,
    salt: u32,
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares that the gradient of `weight` is wanted, in `gradient`.
    pub fn train(&mut self, weight: Tensor, gradient: Tensor) {
        self.parameters.insert(weight.place, gradient);
        self.needs.insert(weight.place);
    }

    /// Sums that are rounded by chance draw by the first of these keys, which every replay has of its own.
    pub fn round_by(&mut self, keys: Tensor) {
        self.keys = Some(keys);
    }

    /// The keys of [`Self::round_by`], and a salt that no other sum has.
    ///
    /// # Panics
    /// If there are none: whoever holds gradients packed gives them.
    pub fn rounding(&mut self) -> (Tensor, u32) {
        let Some(keys) = self.keys else { panic!("gradients are packed, and nothing says how they are rounded") };
        self.salt += 1;
        (keys, self.salt)
    }

    /// Whether a gradient flows through `tensor`.
    pub fn needs(&self, tensor: Tensor) -> bool {
        self.needs.contains(&tensor.place)
    }

    /// New memory `[rows, cols]` with unspecified contents.
    pub fn transient(&mut self, rows: usize, cols: usize) -> Tensor {
        let place = Place::Tape(u32::try_from(self.transients.len()).unwrap_or(u32::MAX));
        self.transients.push(rows * cols);
        Tensor { place, offset: 0, rows, cols, format: Format::F32 }
    }

    /// Records one dispatch.
    pub fn run<L: Launch<Tensor>>(&mut self, launch: L, params: L::Params, grid: Grid) {
        self.run_kernel(L::KERNEL, launch.bindings(), &params, grid);
    }

    /// Records one dispatch of a kernel that is one of several with the same bindings and immediates.
    ///
    /// # Panics
    /// If it takes others.
    pub fn run_kernel(
        &mut self,
        kernel: &'static Kernel,
        bindings: Vec<Tensor>,
        params: &impl bytemuck::NoUninit,
        grid: Grid,
    ) {
        let params = bytemuck::bytes_of(params).to_vec();
        let taken = (kernel.bindings.len(), kernel.params_size);
        assert_eq!((bindings.len(), params.len()), taken, "{}: bindings and bytes of immediates", kernel.name);
        self.commands.push(Command::Dispatch { kernel, bindings, params, grid, from: self.from });
    }

    /// What is recorded from now on is run only when more than `row` rows are in use: how many, each replay says. Row 0 is
    /// always run.
    pub fn rows_from(&mut self, row: usize) {
        self.from = row;
    }

    /// Records filling `tensor` with zeros.
    pub fn clear(&mut self, tensor: Tensor) {
        self.commands.push(Command::Clear(tensor));
    }

    /// Records copying `from` to `to`.
    pub fn copy(&mut self, from: Tensor, to: Tensor) {
        self.commands.push(Command::Copy(from, to));
    }

    /// Records an op; returns its value.
    pub fn apply(&mut self, op: impl Op + 'static, inputs: &[Tensor]) -> Tensor {
        let node = self.forward(Rc::new(op), inputs.to_vec());
        let value = node.outputs[0];
        self.entries.push(Entry::Node(node));
        value
    }

    fn forward(&mut self, op: Rc<dyn Op>, inputs: Vec<Tensor>) -> Node {
        let outputs = op.forward(self, &inputs);
        if inputs.iter().any(|x| self.needs(*x)) {
            self.needs.insert(outputs[0].place);
        }
        Node { op, inputs, outputs }
    }

    /// Records `block`, keeping only its result: the rest is computed again in backward (gradient checkpointing).
    pub fn recompute(&mut self, block: impl FnOnce(&mut Self) -> Tensor) -> Tensor {
        let start = self.entries.len();
        let value = block(self);
        let nodes = self.entries.split_off(start).into_iter().flat_map(|entry| match entry {
            Entry::Node(node) => vec![node],
            Entry::Segment(nodes) => nodes,
        });
        let segment = Entry::Segment(nodes.collect());
        self.entries.push(segment);
        value
    }

    /// Where to put a gradient of `x`; `None` if no gradient flows there. Loss ops call this to seed the reverse walk.
    pub fn gradient(&mut self, x: Tensor) -> Option<Gradient> {
        self.gradient_beside(x, None)
    }

    /// As [`Self::gradient`], for an op that reads `dy` while it writes.
    fn gradient_beside(&mut self, x: Tensor, dy: Option<Tensor>) -> Option<Gradient> {
        if !self.needs(x) {
            return None;
        }
        let existing = self.parameters.get(&x.place).or(self.gradients.get(&x.place)).copied();
        let Some(tensor) = existing else {
            let tensor = self.transient(x.rows, x.cols);
            self.hold(x, tensor);
            return Some(Gradient { tensor, accumulate: 0 });
        };
        let shared = self.holders.get(&tensor.place).is_some_and(|n| *n > 1);
        let tensor = if shared || dy.is_some_and(|dy| dy.place == tensor.place) {
            // Another pending gradient is the same memory: part from it before adding.
            let own = self.transient(tensor.rows, tensor.cols);
            self.copy(tensor, own);
            self.release(tensor);
            self.hold(x, own);
            own
        } else {
            tensor
        };
        Some(Gradient { tensor: tensor.reshape(x.rows, x.cols), accumulate: 1 })
    }

    fn hold(&mut self, x: Tensor, gradient: Tensor) {
        self.gradients.insert(x.place, gradient);
        *self.holders.entry(gradient.place).or_default() += 1;
    }

    fn release(&mut self, gradient: Tensor) {
        if let Some(count) = self.holders.get_mut(&gradient.place) {
            *count -= 1;
        }
    }

    /// Walks the tape in reverse from the gradients that losses have seeded.
    pub fn backward(&mut self) {
        self.forward.get_or_insert(self.commands.len());
        for entry in std::mem::take(&mut self.entries).into_iter().rev() {
            match entry {
                Entry::Node(node) => self.backward_node(&node),
                Entry::Segment(nodes) => self.backward_segment(&nodes),
            }
        }
    }

    fn backward_node(&mut self, node: &Node) {
        let value = node.outputs[0];
        let Some(dy) = self.gradients.remove(&value.place) else {
            return;
        };
        self.release(dy);
        let mut back = Backward {
            tape: self,
            inputs: &node.inputs,
            outputs: &node.outputs,
            dy: dy.reshape(value.rows, value.cols),
        };
        node.op.backward(&mut back);
    }

    fn backward_segment(&mut self, nodes: &[Node]) {
        let Some(last) = nodes.last() else { return };
        if !self.gradients.contains_key(&last.outputs[0].place) {
            return;
        }
        let mut again: HashMap<Place, Place> = HashMap::new();
        let mut fresh = Vec::with_capacity(nodes.len());
        for node in nodes {
            let renamed = |x: &Tensor| Tensor { place: *again.get(&x.place).unwrap_or(&x.place), ..*x };
            let inputs = node.inputs.iter().map(renamed).collect();
            let copy = self.forward(node.op.clone(), inputs);
            again.extend(node.outputs.iter().map(|o| o.place).zip(copy.outputs.iter().map(|o| o.place)));
            fresh.push(copy);
        }
        for (old, new) in &again {
            if let Some(gradient) = self.gradients.remove(old) {
                self.gradients.insert(*new, gradient);
            }
        }
        for node in fresh.iter().rev() {
            self.backward_node(node);
        }
    }

    /// Ends recording.
    pub fn finish(self) -> Recording {
        let forward = self.forward.unwrap_or(self.commands.len());
        Recording { commands: self.commands, transients: self.transients, forward }
    }
}

/// What an op sees in backward.
pub struct Backward<'a> {
    /// Records the kernels.
    pub tape: &'a mut Tape,
    /// As given to `forward`.
    pub inputs: &'a [Tensor],
    /// As returned by `forward`.
    pub outputs: &'a [Tensor],
    /// Gradient of the first output.
    pub dy: Tensor,
}

impl Backward<'_> {
    /// Where to put the gradient of input `i`; `None` if no gradient flows there.
    pub fn gradient(&mut self, i: usize) -> Option<Gradient> {
        self.tape.gradient_beside(self.inputs[i], Some(self.dy))
    }

    /// As [`Self::gradient`], for a kernel that writes several at once: scratch memory where none flows.
    pub fn gradient_or_scratch(&mut self, i: usize) -> Gradient {
        let x = self.inputs[i];
        let scratch = |tape: &mut Tape| Gradient { tensor: tape.transient(x.rows, x.cols), accumulate: 0 };
        self.gradient(i).unwrap_or_else(|| scratch(self.tape))
    }

    /// Lets `dy` itself be the gradient of input `i`, if it has none yet. False: the op must add it.
    pub fn alias(&mut self, i: usize) -> bool {
        let x = self.inputs[i];
        if !self.tape.needs(x) {
            return true;
        }
        let taken = self.tape.parameters.contains_key(&x.place) || self.tape.gradients.contains_key(&x.place);
        if !taken {
            self.tape.hold(x, self.dy);
        }
        !taken
    }
}
