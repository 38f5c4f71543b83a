//! What a loss is made of. A method records its forward pass onto a tape and ends it with the loss head; it neither walks
//! backward nor steps an optimizer.

mod distill;
mod mix;
mod sft;
mod states;

pub use distill::Distill;
pub use mix::{Mix, Source};
pub use sft::Sft;
pub use states::{Beside, Given, States};

use crate::{
    data::{
        pack::{self, Batch},
        random::StepKey,
    },
    gpu::Gpu,
    graph::{
        ops::{
            self, Noise,
            head_loss::{STATS, Targets},
        },
        tape::Tape,
        tensor::{Memory, Role, Store, Tensor},
    },
    model::Inputs,
};

/// No position of a row.
const NOWHERE: u32 = u32::MAX;

/// A way to make a loss.
pub trait Method {
    /// Records everything up to the loss of one packed row.
    fn record(&self, tape: &mut Tape, row: Row, settings: Settings);
}

/// Choices that change memory and time, and the result by rounding alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of so many blocks, the first of each model, keep only the input for backward, and compute the rest again.
    pub recompute: usize,
    /// Tokens whose logits exist at a time.
    pub chunk: usize,
}

/// The tensors of one packed row: what goes in, and the statistics that come out.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// For the model.
    pub inputs: Inputs,
    /// For its embeddings.
    pub noise: Noise,
    /// `[1, T]` the positions that predict a target, first; then values beyond any position.
    pub picked: Tensor,
    /// `[1, T]` where in `picked` each position stands, or a value beyond.
    pub slots: Tensor,
    /// For the loss, in the order of `picked`.
    pub targets: Targets,
}

/// What the randomness of a pass is made from.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Of the optimizer step.
    pub key: StepKey,
    /// Largest noise on an embedding, times the root of the width and the length; 0: none.
    pub alpha: f64,
    /// The length noise is scaled by where it is not each example's own.
    pub padded: Option<usize>,
}

impl Draw {
    /// No noise.
    pub fn quiet(key: StepKey) -> Self {
        Self { key, alpha: 0.0, padded: None }
    }

    /// The largest noise on an example of `len` tokens for a model of this width: `alpha / sqrt(len width)`.
    fn amplitude(&self, len: usize, width: usize) -> f32 {
        (self.alpha / (self.padded.unwrap_or(len) as f64 * width as f64).sqrt()) as f32
    }
}

/// The final hidden states of the positions that predict a target, first.
fn targets(tape: &mut Tape, row: Row, hidden: Tensor) -> Tensor {
    ops::pick(tape, hidden, row.picked, row.slots)
}

impl Row {
    /// Declares a row of `tokens` tokens. `schedule` holds the step's scalars.
    pub fn declare(store: &mut Store, tokens: usize, schedule: Tensor) -> Self {
        let inputs = Inputs::declare(store, tokens);
        let mut declare = |name, rows, cols| store.declare(name, Role::Inputs, rows, cols);
        let targets = Targets {
            ids: declare("targets", 1, tokens),
            weights: declare("token weights", 1, tokens),
            offsets: declare("offsets", 1, tokens),
            watched: declare("watched", 1, tokens),
            stats: declare("statistics", tokens, STATS),
            schedule,
            alone: true,
        };
        let noise = Noise { keys: declare("keys", 1, tokens), amplitudes: declare("amplitudes", 1, tokens) };
        let (picked, slots) = (declare("picked", 1, tokens), declare("slots", 1, tokens));
        Self { inputs, noise, picked, slots, targets }
    }

    /// Bytes that a pass copies to the device: the tensors of [`Self::upload`], those that are watched, and the scalars.
    pub fn upload_bytes(&self) -> u64 {
        let Self { inputs, noise, picked, slots, targets } = self;
        let row = [inputs.tokens, inputs.order, inputs.positions, inputs.spans, inputs.ends, noise.keys];
        let row = row.into_iter().chain([noise.amplitudes, *picked, *slots, targets.ids, targets.weights]);
        row.chain([targets.offsets, targets.watched, targets.schedule]).map(|tensor| tensor.bytes()).sum()
    }

    /// Copies a batch to the device. Returns the positions that predict a target: the loss head sees only these, and its
    /// statistics stand in their order. `vocab` and `width` are the strong model's.
    pub fn upload(
        &self,
        to: (&Gpu, &Memory),
        batch: &Batch,
        draw: Draw,
        source: Source,
        model: [usize; 2],
    ) -> Vec<usize> {
        let ((gpu, memory), [vocab, width]) = (to, model);
        let spans: Vec<[u32; 2]> = batch.start.iter().zip(1..).map(|(start, end)| [*start, end]).collect();
        memory.write(gpu, self.inputs.tokens, 0, &batch.tokens);
        memory.write(gpu, self.inputs.order, 0, &pack::order(&batch.tokens));
        memory.write(gpu, self.inputs.positions, 0, &batch.positions);
        memory.write(gpu, self.inputs.spans, 0, &spans);
        memory.write(gpu, self.inputs.ends, 0, &batch.end);
        let tokens = batch.tokens.len();
        let (mut keys, mut amplitudes) = (vec![0u32; tokens], vec![0.0f32; tokens]);
        for placed in &batch.examples {
            let amplitude = draw.amplitude(placed.len, width);
            for position in 0..placed.len {
                keys[placed.start + position] = draw.key.token(placed.example, position);
                amplitudes[placed.start + position] = amplitude;
            }
        }
        memory.write(gpu, self.noise.keys, 0, &keys);
        memory.write(gpu, self.noise.amplitudes, 0, &amplitudes);
        let positions: Vec<usize> = (0..tokens).filter(|t| batch.weights[*t] != 0.0).collect();
        let (mut picked, mut slots) = (vec![NOWHERE; tokens], vec![NOWHERE; tokens]);
        let (mut ids, mut weights) = (vec![0u32; tokens], vec![0.0f32; tokens]);
        let mut offsets = vec![0u32; tokens];
        for (slot, &t) in positions.iter().enumerate() {
            (picked[slot], slots[t]) = (t as u32, slot as u32);
            (ids[slot], weights[slot]) = (batch.targets[t], batch.weights[t]);
            offsets[slot] = source.offset(keys[t], vocab as u32);
        }
        memory.write(gpu, self.picked, 0, &picked);
        memory.write(gpu, self.slots, 0, &slots);
        memory.write(gpu, self.targets.ids, 0, &ids);
        memory.write(gpu, self.targets.weights, 0, &weights);
        memory.write(gpu, self.targets.offsets, 0, &offsets);
        positions
    }
}

impl Source {
    /// What [`Targets::offsets`] holds for a token of this key.
    fn offset(self, key: u32, vocab: u32) -> u32 {
        match self {
            Self::Real | Self::Blended | Self::Uniform => 0,
            Self::Shuffled => 1 + key % (vocab - 1).max(1),
            Self::EntropyMatched => key % vocab,
        }
    }
}
