//! What a loss is made of. A method records its forward pass onto a tape and ends it with the loss head; it neither walks
//! backward nor steps an optimizer.

mod mix;
mod sft;

pub use mix::Mix;
pub use sft::Sft;

use crate::{
    data::pack::{self, Batch},
    gpu::Gpu,
    model::Inputs,
    ops::head_loss::{STATS, Targets},
    tape::Tape,
    tensor::{Memory, Role, Store, Tensor},
};

/// A way to make a loss.
pub trait Method {
    /// Records everything up to the loss of one packed row.
    fn record(&self, tape: &mut Tape, row: Row, settings: Settings);
}

/// Choices that change memory and time, never the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Keep only the input of each block for backward, and compute the rest again.
    pub recompute: bool,
    /// Tokens whose logits exist at a time.
    pub chunk: usize,
}

/// The tensors of one packed row: what goes in, and the statistics that come out.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// For the model.
    pub inputs: Inputs,
    /// For the loss.
    pub targets: Targets,
}

impl Row {
    /// Declares a row of `tokens` tokens. `schedule` holds the step's scalars.
    pub fn declare(store: &mut Store, tokens: usize, schedule: Tensor) -> Self {
        let inputs = Inputs::declare(store, tokens);
        let mut declare = |name, rows, cols| store.declare(name, Role::Inputs, rows, cols);
        let targets = Targets {
            ids: declare("targets", 1, tokens),
            weights: declare("token weights", 1, tokens),
            stats: declare("statistics", tokens, STATS),
            schedule,
        };
        Self { inputs, targets }
    }

    /// Copies a batch to the device.
    pub fn upload(&self, gpu: &Gpu, memory: &Memory, batch: &Batch) {
        let spans: Vec<[u32; 2]> = batch.start.iter().zip(1..).map(|(start, end)| [*start, end]).collect();
        memory.write(gpu, self.inputs.tokens, 0, &batch.tokens);
        memory.write(gpu, self.inputs.order, 0, &pack::order(&batch.tokens));
        memory.write(gpu, self.inputs.positions, 0, &batch.positions);
        memory.write(gpu, self.inputs.spans, 0, &spans);
        memory.write(gpu, self.inputs.ends, 0, &batch.end);
        memory.write(gpu, self.targets.ids, 0, &batch.targets);
        memory.write(gpu, self.targets.weights, 0, &batch.weights);
    }
}
