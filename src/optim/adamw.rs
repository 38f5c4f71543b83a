//! AdamW (Loshchilov & Hutter 2019), as torch.optim.AdamW with one parameter group: decay applies to every tensor.

use crate::{
    gpu::kernels::adamw as kernels,
    tape::{Grid, Tape},
    tensor::{Role, Store, Tensor, size},
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
}

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
        }
    }
}

impl Scalars {
    /// The row of step `step`, counted from 0.
    pub fn row(&self, step: u64) -> [f32; kernels::SCALARS] {
        let t = i32::try_from(step + 1).unwrap_or(i32::MAX);
        let corrections = self.betas.map(|beta| 1.0 - beta.powi(t));
        let mut row = [0.0; kernels::SCALARS];
        row[kernels::LAMBDA] = self.lambda as f32;
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
        row[kernels::SMOOTHING] = self.label_smoothing as f32;
        row[kernels::TEMPERATURE] = self.temperature as f32;
        row[kernels::HARD] = self.hard as f32;
        row[kernels::LOWERED] = self.lowered as f32;
        row
    }
}

/// Declares the tensor that holds [`Scalars::row`].
pub fn schedule_tensor(store: &mut Store) -> Tensor {
    store.declare("schedule", Role::Inputs, 1, kernels::SCALARS)
}

/// Weights, gradients and both moments of some parameters that lie side by side.
#[derive(Clone, Copy)]
struct Group {
    weight: Tensor,
    grad: Tensor,
    moments: [Tensor; 2],
}

impl Group {
    /// Both as one, if in all four places the second is as far behind the first.
    fn join(self, next: Self, store: &Store) -> Option<Self> {
        let weight = store.span(self.weight, next.weight)?;
        let grad = store.span(self.grad, next.grad)?;
        let moment = |i: usize| store.span(self.moments[i], next.moments[i]);
        let moments = [moment(0)?, moment(1)?];
        let alike = [grad, moments[0], moments[1]].iter().all(|tensor| tensor.len() == weight.len());
        alike.then_some(Self { weight, grad, moments })
    }

    /// `parameters` in as few groups as can be.
    fn of(parameters: &[Self], store: &Store) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for &parameter in parameters {
            let joined = groups.last().and_then(|last| last.join(parameter, store));
            match (joined, groups.last_mut()) {
                (Some(joined), Some(last)) => *last = joined,
                _ => groups.extend(parameter.join(parameter, store)),
            }
        }
        groups
    }
}

/// The optimizer's state over a set of parameters.
pub struct AdamW {
    moments: Vec<[Tensor; 2]>,
    groups: Vec<Group>,
    partials: Tensor,
    norm: Tensor,
    schedule: Tensor,
}

/// Squares that one workgroup sums.
const SQUARES: usize = 4 * kernels::LANES * kernels::BLOCK;

impl AdamW {
    /// Declares moments for `(weight, gradient)` pairs. `schedule` is read at every step.
    pub fn declare(store: &mut Store, pairs: &[(Tensor, Tensor)], schedule: Tensor) -> Self {
        // All first moments and then all second ones, so that each kind lies side by side.
        let mut declare = |name| -> Vec<Tensor> {
            pairs.iter().map(|(weight, _)| store.declare(name, Role::Optimizer, weight.rows, weight.cols)).collect()
        };
        let [first, second] = ["moment1", "moment2"].map(&mut declare);
        let moments: Vec<[Tensor; 2]> = first.into_iter().zip(second).map(Into::into).collect();
        let parameters = pairs.iter().zip(&moments);
        let parameters: Vec<Group> =
            parameters.map(|(&(weight, grad), &moments)| Group { weight, grad, moments }).collect();
        let groups = Group::of(&parameters, store);
        let blocks: usize = groups.iter().map(|group| group.grad.len().div_ceil(SQUARES)).sum();
        let partials = store.declare("norm partials", Role::Inputs, 1, blocks.max(1));
        let norm = store.declare("gradient norm", Role::Inputs, 1, 2);
        Self { moments, groups, partials, norm, schedule }
    }

    /// Moments of each parameter, in the order of the pairs.
    pub fn moments(&self) -> impl Iterator<Item = [Tensor; 2]> {
        self.moments.iter().copied()
    }

    /// `[norm, scale]` of the last step's gradient, before clipping; a negative scale: it or one before was not finite and
    /// the step changed nothing. No step changes anything until zeros are written here.
    pub fn norm(&self) -> Tensor {
        self.norm
    }

    /// Records one update of all parameters, after which all gradients are 0.
    pub fn record(&self, tape: &mut Tape) {
        let (partials, schedule, norm) = (self.partials, self.schedule, self.norm);
        let params = |n: usize, first: usize| kernels::Params { n: size(n), first: size(first) };
        let mut first = 0;
        for &Group { grad, .. } in &self.groups {
            let launch = kernels::SquareSum { grad4: grad, partials };
            tape.run(launch, params(grad.len() / 4, first), Grid::items(grad.len(), SQUARES));
            first += grad.len().div_ceil(SQUARES);
        }
        let clip = kernels::Clip { partials, schedule, norm };
        tape.run(clip, params(partials.len(), 0), Grid::linear(1));
        for &Group { weight, grad, moments: [moment1, moment2] } in &self.groups {
            let launch = kernels::Step {
                grad4: grad,
                schedule,
                weight4: weight,
                moment1_4: moment1,
                moment2_4: moment2,
                clipped: norm,
            };
            tape.run(launch, params(grad.len() / 4, 0), Grid::items(grad.len() / 4, 64));
            tape.clear(grad); // cheaper than from within the kernel on software drivers, and the same to a GPU's memory
        }
    }
}
