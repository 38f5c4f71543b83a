//! Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531): `a CE(z_s, y) + (1 - a) T^2 KL(softmax(z_t / T) ||
//! softmax(z_s / T))` of a student and a frozen teacher; self-distillation if the teacher is an earlier checkpoint.
//!
//! UNDIAL (Dong et al. 2024, arXiv 2402.10052) is the same with `a = 0`, `T = 1`, the starting model as teacher, and the
//! teacher's target logit lowered by beta. Its soft cross-entropy is the divergence here plus the teacher's entropy, which
//! has no gradient.

use super::{Beside, Method, Row, Settings};
use crate::{
    graph::{
        ops::head_loss::{Second, head_loss},
        tape::Tape,
    },
    model::Model,
};

/// Divergence from a teacher.
pub struct Distill<'a> {
    /// The model that learns.
    pub student: &'a Model,
    /// A frozen model of the same vocabulary.
    pub teacher: Beside<'a>,
}

impl Method for Distill<'_> {
    fn record(&self, tape: &mut Tape, row: Row, settings: Settings) {
        let [student, teacher] = [Beside::computed(self.student), self.teacher].map(|model| {
            let hidden = model.hidden(tape, row, settings);
            model.head(hidden)
        });
        head_loss(tape, student, &Second::Teacher(teacher), row.targets, settings.chunk);
    }
}
