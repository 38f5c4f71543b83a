//! The tensors of a micro-batch: one packed sequence of `T` tokens that goes in, and the statistics that come out.

use super::Objective;
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

/// No position of a packed sequence.
const NOWHERE: u32 = u32::MAX;

/// The tensors of a micro-batch: what goes in, and the statistics that come out.
#[derive(Clone, Copy, Debug)]
pub struct MicroBatch {
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

/// What the randomness of a micro-batch is made from.
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

impl MicroBatch {
    /// Declares those of `tokens` tokens. `scalars` is the row of step scalars.
    pub fn declare(store: &mut Store, tokens: usize, scalars: Tensor) -> Self {
        let inputs = Inputs::declare(store, tokens);
        let mut declare = |name, rows, cols| store.declare(name, Role::Inputs, rows, cols);
        let targets = Targets {
            ids: declare("targets", 1, tokens),
            weights: declare("token weights", 1, tokens),
            offsets: declare("offsets", 1, tokens),
            watched: declare("watched", 1, tokens),
            stats: declare("statistics", tokens, STATS),
            scalars,
        };
        let noise = Noise { keys: declare("keys", 1, tokens), amplitudes: declare("amplitudes", 1, tokens) };
        let (picked, slots) = (declare("picked", 1, tokens), declare("slots", 1, tokens));
        Self { inputs, noise, picked, slots, targets }
    }

    /// Bytes that a micro-batch copies to the device: the tensors of [`Self::upload`], those that are watched, and the scalars.
    pub fn upload_bytes(&self) -> u64 {
        let Self { inputs, noise, picked, slots, targets } = self;
        let row = [inputs.tokens, inputs.order, inputs.positions, inputs.spans, inputs.ends, noise.keys];
        let row = row.into_iter().chain([noise.amplitudes, *picked, *slots, targets.ids, targets.weights]);
        row.chain([targets.offsets, targets.watched, targets.scalars]).map(|tensor| tensor.bytes()).sum()
    }

    /// The final hidden states of the positions that predict a target, first.
    pub(super) fn pick(&self, tape: &mut Tape, hidden: Tensor) -> Tensor {
        ops::pick(tape, hidden, self.picked, self.slots)
    }

    /// Copies a packed sequence to the device. Returns the positions that predict a target: the loss head sees only these,
    /// and its statistics stand in their order. `vocab` and `width` are those of the trained model.
    pub fn upload(
        &self,
        (gpu, memory): (&Gpu, &Memory),
        batch: &Batch,
        draw: Draw,
        objective: &dyn Objective,
        [vocab, width]: [usize; 2],
    ) -> Vec<usize> {
        let tokens = batch.tokens.len();
        let spans: Vec<[u32; 2]> = batch.start.iter().zip(1..).map(|(start, end)| [*start, end]).collect();
        let (mut keys, mut amplitudes) = (vec![0u32; tokens], vec![0.0f32; tokens]);
        for placed in &batch.examples {
            let amplitude = draw.amplitude(placed.len, width);
            for position in 0..placed.len {
                keys[placed.start + position] = draw.key.token(placed.example, position);
                amplitudes[placed.start + position] = amplitude;
            }
        }
        let positions: Vec<usize> = (0..tokens).filter(|t| batch.weights[*t] != 0.0).collect();
        let (mut picked, mut slots) = (vec![NOWHERE; tokens], vec![NOWHERE; tokens]);
        let (mut ids, mut weights) = (vec![0u32; tokens], vec![0.0f32; tokens]);
        let mut offsets = vec![0u32; tokens];
        for (slot, &t) in positions.iter().enumerate() {
            (picked[slot], slots[t]) = (t as u32, slot as u32);
            (ids[slot], weights[slot]) = (batch.targets[t], batch.weights[t]);
            offsets[slot] = objective.offset(keys[t], vocab as u32);
        }
        let Self { inputs, noise, targets, .. } = self;
        for (tensor, values) in [
            (inputs.tokens, &batch.tokens),
            (inputs.order, &pack::order(&batch.tokens)),
            (inputs.positions, &batch.positions),
            (inputs.ends, &batch.end),
            (noise.keys, &keys),
            (self.picked, &picked),
            (self.slots, &slots),
            (targets.ids, &ids),
            (targets.offsets, &offsets),
        ] {
            memory.write(gpu, tensor, 0, values);
        }
        memory.write(gpu, inputs.spans, 0, &spans);
        memory.write(gpu, noise.amplitudes, 0, &amplitudes);
        memory.write(gpu, targets.weights, 0, &weights);
        positions
    }
}
