//! The scalars of a step: one row of columns that kernels read, written by the host before each step. Columns are declared in
//! the shaders of whoever reads them: the optimizer's in `lib/optimizer_scalars.wgsl`, those that all losses share in
//! `lib/loss_scalars.wgsl`, those of one relation of logits in its own shader.

use crate::{
    graph::tensor::{Role, Store, Tensor},
    kernels::{
        adamw as optimizer,
        head_distill::{self, CE_WEIGHT, TARGET_LOGIT_PENALTY, TEMPERATURE},
    },
};

/// Values of all columns but those that move on the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalars {
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
    /// Where the randomness of rounding starts.
    pub seed: u64,
    /// Good steps after which the loss scale doubles; 0: it never does.
    pub growth: u64,
    /// Share of the strong model in mixed logits; 1 without a weak one.
    pub lambda: f64,
    /// Share of each target that is spread evenly over the vocabulary.
    pub label_smoothing: f64,
    /// Temperature of distilled logits.
    pub temperature: f64,
    /// Share of the cross-entropy in a distilled loss.
    pub ce_weight: f64,
    /// By how much a teacher's target logit is lowered.
    pub target_logit_penalty: f64,
}

/// The loss scale that a run with f16 factors starts with, and its [`Scalars::growth`]: those of torch.amp.GradScaler.
pub const LOSS_SCALING: (f32, u64) = (65_536.0, 2_000);

impl Default for Scalars {
    /// Plain cross-entropy and no step: what scoring needs.
    fn default() -> Self {
        Self {
            lr: 0.0,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            clip: 0.0,
            seed: 0,
            growth: 0,
            lambda: 1.0,
            label_smoothing: 0.0,
            temperature: 1.0,
            ce_weight: 1.0,
            target_logit_penalty: 0.0,
        }
    }
}

impl Scalars {
    /// The row of step `step`, counted from 0, with a loss scale of 1. What lies behind [`HOST_SCALARS`] moves on the device:
    /// there it is written once.
    pub fn row(&self, step: u64) -> [f32; optimizer::SCALARS] {
        let t = i32::try_from(step + 1).unwrap_or(i32::MAX);
        let corrections = self.betas.map(|beta| 1.0 - beta.powi(t));
        let mut row = [0.0; optimizer::SCALARS];
        for (column, value) in [
            (optimizer::LR, self.lr),
            (optimizer::BETA1, self.betas[0]),
            (optimizer::BETA2, self.betas[1]),
            (optimizer::GAIN1, 1.0 - self.betas[0]),
            (optimizer::GAIN2, 1.0 - self.betas[1]),
            (optimizer::EPS, self.eps),
            (optimizer::WEIGHT_DECAY, self.weight_decay),
            (optimizer::CORRECTION1, corrections[0]),
            (optimizer::CORRECTION2, corrections[1].sqrt()),
            (optimizer::MAX_NORM, self.clip),
            (optimizer::ROUNDING, (mixed(self.seed, step) >> 40) as f64),
            (optimizer::GROWTH, self.growth as f64),
            (optimizer::LOSS_SCALE, 1.0),
            (head_distill::LAMBDA, self.lambda),
            (head_distill::SMOOTHING, self.label_smoothing),
            (TEMPERATURE, self.temperature),
            (CE_WEIGHT, self.ce_weight),
            (TARGET_LOGIT_PENALTY, self.target_logit_penalty),
        ] {
            row[column] = value as f32;
        }
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
pub const HOST_SCALARS: usize = optimizer::LOSS_SCALE;

/// The part of a row that moves on the device: the loss scale, and the good steps since it moved. Never bound by itself.
pub fn loss_scaling(row: Tensor) -> Tensor {
    Tensor { offset: row.offset + HOST_SCALARS, rows: 1, cols: optimizer::SCALARS - HOST_SCALARS, ..row }
}

/// Declares the tensor that holds [`Scalars::row`].
pub fn declare(store: &mut Store) -> Tensor {
    store.declare("step scalars", Role::Inputs, 1, optimizer::SCALARS)
}
