//! Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531): `a CE(z_s, y) + (1 - a) T^2 KL(softmax(z_t / T) ||
//! softmax(z_s / T))` of a student and a frozen teacher; self-distillation (Furlanello et al. 2018, arXiv 1805.04770) if the
//! teacher is an earlier checkpoint.
//!
//! UNDIAL (Dong et al. 2024, arXiv 2402.10052) is the same with `a = 0`, `T = 1`, the starting model as teacher, and the
//! teacher's target logit lowered by beta. Its soft cross-entropy is the divergence here plus the teacher's entropy, which
//! has no gradient.

use std::sync::Arc;

use super::{Auxiliary, Forward, Method, Metric, MicroBatch, Models, Objective, Origin, Position, Settings, metrics};
use crate::{
    graph::{
        ops::head_loss::{Second, head_loss},
        scalars::Scalars,
        tape::Tape,
        tensor::Tensor,
    },
    settings::Config,
};

pub(super) const METHODS: &[Method] = &[UNDIAL, DISTILL, SELF_DISTILL];

const DISTILL: Method = Method {
    name: "distill",
    settings: &["temperature", "hard_share"],
    objective: |config| {
        let missing = Origin::Missing { key: "teacher", what: "the Hugging Face folder of the teacher" };
        let same_shape = false;
        Arc::new(Distill { same_shape, ..Distill::of(config, missing) })
    },
    compare: |arm, comparison, _| arm.teacher.clone_from(&comparison.teacher),
};

const SELF_DISTILL: Method = Method {
    name: "self-distill",
    objective: |config| Arc::new(Distill::of(config, Origin::Start)),
    compare: |arm, _, earlier| arm.teacher = Some(earlier.into()),
    ..DISTILL
};

const UNDIAL: Method = Method {
    name: "undial",
    settings: &["undial_beta", "hard_share"],
    objective: |config| {
        let (ce_weight, target_logit_penalty) = (config.hard_share(), config.undial_beta);
        let of = Distill::of(config, Origin::Start);
        Arc::new(Distill { temperature: 1.0, ce_weight, target_logit_penalty, ..of })
    },
    compare: |_, _, _| {},
};

/// Divergence from a teacher.
#[derive(Clone, Debug, PartialEq)]
pub struct Distill {
    /// Where the teacher comes from.
    pub teacher: Origin,
    /// Whether it is an earlier state of the student.
    pub same_shape: bool,
    /// T.
    pub temperature: f64,
    /// Share of the cross-entropy in the loss.
    pub ce_weight: f64,
    /// By how much the teacher's target logit is lowered.
    pub target_logit_penalty: f64,
}

impl Distill {
    fn of(config: &Config, otherwise: Origin) -> Self {
        Self {
            teacher: config.teacher.clone().map_or(otherwise, Origin::Folder),
            same_shape: true,
            temperature: config.temperature,
            ce_weight: config.hard_share(),
            target_logit_penalty: 0.0,
        }
    }
}

impl Objective for Distill {
    fn auxiliaries(&self) -> Vec<Auxiliary> {
        let (origin, same_shape) = (self.teacher.clone(), self.same_shape);
        vec![Auxiliary { role: "teacher", origin, learns: false, same_shape }]
    }

    fn record(&self, tape: &mut Tape, models: &Models<'_>, batch: MicroBatch, settings: Settings) -> Option<Tensor> {
        let [student, teacher] = [Forward::computed(models.main), models.auxiliaries[0]]
            .map(|forward| forward.head(tape, batch, settings));
        head_loss(tape, student, &Second::Teacher(teacher), batch.targets, settings.chunk);
        None
    }

    fn metrics(&self, _: &Models<'_>) -> Vec<Metric> {
        [&[metrics::MARGIN], metrics::MAIN, &metrics::MIXED, metrics::AUXILIARY].concat()
    }

    fn scalars(&self, _: Position, _: Option<f64>, to: &mut Scalars) {
        to.temperature = self.temperature;
        to.ce_weight = self.ce_weight;
        to.target_logit_penalty = self.target_logit_penalty;
    }
}
