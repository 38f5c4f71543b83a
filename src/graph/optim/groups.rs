//! How what learns is stored beside its gradient, and what of it lies side by side, so that one dispatch steps it.

use crate::{
    gpu::Kernel,
    graph::tensor::{Format, Role, Store, Tensor},
    kernels::{adamw, adamw_bf16, adamw_codes, adamw_moments_bf16, adamw_moments_codes},
};

/// Bits of the numbers of what learns. Matrices that the kernels cannot take so, and all that is no matrix, keep 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Width {
    /// Everything is f32.
    #[default]
    Bits32,
    /// Weights of a model, gradients and moments are bfloat16, rounded by chance.
    Bits16,
    /// Likewise, and moments are codes of 8 bits.
    Bits8,
}

impl Width {
    /// How the moments of a weight are stored: an adapter's too, whose weights stay f32.
    fn moments(self, weight: Tensor) -> Format {
        let whole = weight.rows > 1 && weight.len().is_multiple_of(adamw_codes::BLOCK);
        match self {
            Self::Bits16 if whole => Format::Bf16,
            Self::Bits8 if whole => Format::Codes,
            _ => Format::F32,
        }
    }
}

/// Weights, gradients and moments of a parameter, or of some that lie side by side.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) weight: Tensor,
    pub(super) grad: Tensor,
    pub(super) moments: [Tensor; 2],
    /// `[blocks, 2]`: the largest of each block's moments, where they are codes.
    pub(super) scales: Option<Tensor>,
    /// Fours of numbers in the parameters that are stepped before.
    pub(super) first: usize,
}

impl Group {
    /// The parameters of these `(weight, gradient)` pairs, with moments of this width.
    pub(super) fn declare(store: &mut Store, pairs: &[(Tensor, Tensor)], width: Width) -> Vec<Self> {
        // All first moments and then all second ones, so that each kind lies side by side.
        let mut declare = |name| -> Vec<Tensor> {
            let moment = |&(weight, _): &(Tensor, Tensor)| {
                store.declare_packed(name, Role::Optimizer, weight.rows, weight.cols, width.moments(weight))
            };
            pairs.iter().map(moment).collect()
        };
        let [first, second] = ["moment1", "moment2"].map(&mut declare);
        let mut parameter = |((&(weight, grad), first), second): ((&(Tensor, Tensor), Tensor), Tensor)| {
            let blocks = weight.len() / adamw_codes::BLOCK;
            let mut scales = || store.declare("moment scales", Role::Optimizer, blocks, 2);
            let scales = (first.format == Format::Codes).then(&mut scales);
            Self { weight, grad, moments: [first, second], scales, first: 0 }
        };
        pairs.iter().zip(first).zip(second).map(&mut parameter).collect()
    }

    /// `parameters` in as few groups as can be, those of one kernel side by side.
    pub(super) fn of(parameters: &[Self], store: &Store) -> Vec<Self> {
        let mut sorted = parameters.to_vec();
        sorted.sort_by_key(|group| [group.weight.format, group.moments[0].format].map(Format::bits));
        let mut groups: Vec<Self> = Vec::new();
        let mut first = 0;
        for parameter in sorted {
            let parameter = Self { first, ..parameter };
            first += parameter.weight.len() / 4;
            let joined = groups.last().and_then(|last| last.join(parameter, store));
            match (joined, groups.last_mut()) {
                (Some(joined), Some(last)) => *last = joined,
                _ => groups.push(parameter.join(parameter, store).expect("a parameter is beside itself")),
            }
        }
        groups
    }

    /// Both as one, if everywhere the second is as far behind the first.
    fn join(self, next: Self, store: &Store) -> Option<Self> {
        let weight = store.span(self.weight, next.weight)?;
        let grad = store.span(self.grad, next.grad)?;
        let moment = |i: usize| store.span(self.moments[i], next.moments[i]);
        let moments = [moment(0)?, moment(1)?];
        let (mut scales, mut dense) = (None, true);
        if let (Some(first), Some(last)) = (self.scales, next.scales) {
            let span = store.span(first, last)?;
            // Spans are filled up to fours.
            let end = span.len() - last.len().next_multiple_of(4) + last.len();
            dense = end / 2 * adamw_codes::BLOCK == weight.len();
            scales = Some(span);
        }
        let alike = [grad, moments[0], moments[1]].iter().all(|tensor| tensor.len() == weight.len());
        (alike && dense).then_some(Self { weight, grad, moments, scales, first: self.first })
    }

    /// The kernel that steps it.
    pub(super) fn kernel(&self) -> &'static Kernel {
        match (self.weight.format, self.moments[0].format) {
            (Format::F32, Format::Bf16) => &adamw_moments_bf16::STEP,
            (Format::F32, Format::Codes) => &adamw_moments_codes::STEP,
            (_, Format::Bf16) => &adamw_bf16::STEP,
            (_, Format::Codes) => &adamw_codes::STEP,
            (Format::F32, Format::F32) => &adamw::STEP,
            formats => panic!("adamw: no kernel for weights and moments in {formats:?}"),
        }
    }
}
