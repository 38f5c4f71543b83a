//! AdamW (Loshchilov & Hutter 2019), as torch.optim.AdamW with one parameter group: decay applies to every tensor.

use super::groups::{Group, Width};
use crate::{
    gpu::kernels::{adamw as kernels, adamw_bf16},
    graph::{
        ops::head_loss,
        tape::{Grid, Tape},
        tensor::{Format, Role, Store, Tensor, size},
    },
};

/// What changes from step to step, as the kernels read it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalars {
    /// Share of the strong model in mixed logits; 1 without a weak one.
    pub lambda: f64,
    /// Learning rate.
    pub lr: f64,
    /// Decay rates of the moments.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global norm; 0: none.
    pub clip: f64,
    /// Share of each target that is spread evenly over the vocabulary.
    pub label_smoothing: f64,
    /// Temperature of distilled logits.
    pub temperature: f64,
    /// Share of the cross-entropy in a distilled loss.
    pub hard: f64,
    /// By how much a teacher's target logit is lowered.
    pub lowered: f64,
    /// Where the randomness of rounding starts.
    pub seed: u64,
    /// Good steps after which the loss scale doubles; 0: it never does.
    pub growth: u64,
}

/// The loss scale that a run with f16 factors starts with, and its [`Scalars::growth`]: those of torch.amp.GradScaler.
pub const LOSS_SCALING: (f32, u64) = (65_536.0, 2_000);

impl Default for Scalars {
    /// Plain cross-entropy and no step: what scoring needs.
    fn default() -> Self {
        Self {
            lambda: 1.0,
            lr: 0.0,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            clip: 0.0,
            label_smoothing: 0.0,
            temperature: 1.0,
            hard: 1.0,
            lowered: 0.0,
            seed: 0,
            growth: 0,
        }
    }
}

impl Scalars {
    /// The row of step `step`, counted from 0, with a loss scale of 1. What lies behind [`HOST_SCALARS`] moves on the device:
    /// there it is written once.
    pub fn row(&self, step: u64) -> [f32; kernels::SCALARS] {
        let t = i32::try_from(step + 1).unwrap_or(i32::MAX);
        let corrections = self.betas.map(|beta| 1.0 - beta.powi(t));
        let mut row = [0.0; kernels::SCALARS];
        row[head_loss::LAMBDA] = self.lambda as f32;
        row[kernels::LR] = self.lr as f32;
        row[kernels::BETA1] = self.betas[0] as f32;
        row[kernels::BETA2] = self.betas[1] as f32;
        row[kernels::GAIN1] = (1.0 - self.betas[0]) as f32;
        row[kernels::GAIN2] = (1.0 - self.betas[1]) as f32;
        row[kernels::EPS] = self.eps as f32;
        row[kernels::WEIGHT_DECAY] = self.weight_decay as f32;
        row[kernels::CORRECTION1] = corrections[0] as f32;
        row[kernels::CORRECTION2] = corrections[1].sqrt() as f32;
        row[kernels::MAX_NORM] = self.clip as f32;
        row[head_loss::SMOOTHING] = self.label_smoothing as f32;
        row[head_loss::TEMPERATURE] = self.temperature as f32;
        row[head_loss::CE_WEIGHT] = self.hard as f32;
        row[head_loss::TARGET_LOGIT_PENALTY] = self.lowered as f32;
        row[kernels::ROUNDING] = (mixed(self.seed, step) >> 40) as f32;
        row[kernels::GROWTH] = self.growth as f32;
        row[kernels::LOSS_SCALE] = 1.0;
        row
    }
}

/// Another number for every step of every seed (the end of SplitMix64, Steele, Lea & Flood 2014).
fn mixed(seed: u64, step: u64) -> u64 {
    let mut z = seed.wrapping_add((step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Scalars of a row that are the host's to write in every step.
pub const HOST_SCALARS: usize = kernels::LOSS_SCALE;

/// The part of a schedule that moves on the device: the loss scale, and the good steps since it moved. Never bound by itself.
pub fn loss_scaling(schedule: Tensor) -> Tensor {
    Tensor { offset: schedule.offset + HOST_SCALARS, rows: 1, cols: kernels::SCALARS - HOST_SCALARS, ..schedule }
}

/// Declares the tensor that holds [`Scalars::row`].
pub fn schedule_tensor(store: &mut Store) -> Tensor {
    store.declare("schedule", Role::Inputs, 1, kernels::SCALARS)
}

/// The optimizer's state over a set of parameters.
pub struct AdamW {
    parameters: Vec<Group>,
    groups: Vec<Group>,
    partials: Tensor,
    norm: Tensor,
    schedule: Tensor,
}

/// Squares that one workgroup sums.
const SQUARES: usize = 4 * kernels::LANES * kernels::BLOCK;

impl AdamW {
    /// Declares moments of this width for `(weight, gradient)` pairs. `schedule` is read at every step.
    pub fn declare(store: &mut Store, pairs: &[(Tensor, Tensor)], schedule: Tensor, width: Width) -> Self {
        let parameters = Group::declare(store, pairs, width);
        let groups = Group::of(&parameters, store);
        let blocks: usize = groups.iter().map(|group| group.grad.len().div_ceil(SQUARES)).sum();
        let partials = store.declare("norm partials", Role::Inputs, 1, blocks.max(1));
        let norm = store.declare("gradient norm", Role::Inputs, 1, 3);
        Self { parameters, groups, partials, norm, schedule }
    }

    /// Moments of each parameter, in the order of the pairs.
    pub fn moments(&self) -> impl Iterator<Item = [Tensor; 2]> {
        self.parameters.iter().map(|parameter| parameter.moments)
    }

    /// What the moments of each parameter are scaled by, `[blocks, 2]`, where they are codes.
    pub fn scales(&self) -> impl Iterator<Item = Option<Tensor>> {
        self.parameters.iter().map(|parameter| parameter.scales)
    }

    /// `[norm, scale, loss scale]` of the last step's gradient, before clipping; a negative scale: it or one before was not
    /// finite and the step changed nothing. Where the loss scale was above 1, it is halved and the next step may be good;
    /// else no step changes anything until zeros are written here.
    pub fn norm(&self) -> Tensor {
        self.norm
    }

    /// Records one update of all parameters, after which all gradients are 0.
    pub fn record(&self, tape: &mut Tape) {
        let (partials, schedule, norm) = (self.partials, self.schedule, self.norm);
        let params = |n: usize, first: usize| kernels::Params { n: size(n), first: size(first) };
        let mut first = 0;
        for &Group { grad, .. } in &self.groups {
            let kernel = if grad.format == Format::F32 { &kernels::SQUARE_SUM } else { &adamw_bf16::SQUARE_SUM };
            let grid = Grid::items(grad.len(), SQUARES);
            tape.run_kernel(kernel, vec![grad, partials], &params(grad.len() / 4, first), grid);
            first += grad.len().div_ceil(SQUARES);
        }
        let clip = kernels::Clip { partials, scaling: schedule, norm };
        tape.run(clip, params(partials.len(), 0), Grid::linear(1));
        for group in &self.groups {
            let Group { weight, grad, moments: [moment1, moment2], .. } = *group;
            let mut bindings = vec![grad, schedule, weight, moment1, moment2, norm];
            bindings.extend(group.scales);
            // Of moments that are codes, a workgroup steps a block: 64 fours as well.
            let grid = Grid::items(grad.len() / 4, 64);
            // Of the first, only what it adds to draws matters, modulo 2^32.
            let params = kernels::Params { n: size(grad.len() / 4), first: group.first as u32 };
            tape.run_kernel(group.kernel(), bindings, &params, grid);
            tape.clear(grad); // cheaper than from within the kernel on software drivers, and the same to a GPU's memory
        }
    }
}
