// Columns of the row of scalars that the host writes before every optimizer step.
const LAMBDA = 0u; // share of the strong model in mixed logits
const LR = 1u;
const BETA1 = 2u;
const BETA2 = 3u;
const EPS = 4u;
const WEIGHT_DECAY = 5u;
const CORRECTION1 = 6u; // 1 - b1^t
const CORRECTION2 = 7u; // sqrt(1 - b2^t)
const MAX_NORM = 8u; // 0: no clipping
const GAIN1 = 9u; // 1 - b1, rounded once: 1 - f32(0.999) is off by 1.3e-5
const GAIN2 = 10u; // 1 - b2
const SMOOTHING = 11u; // share of the target spread evenly over the vocabulary
const TEMPERATURE = 12u; // of distilled logits
const HARD = 13u; // share of the cross-entropy in a distilled loss
const LOWERED = 14u; // by how much the teacher's target logit is lowered
const ROUNDING = 15u; // where the randomness of rounding starts, a whole number below 2^24
const SCALARS = 16u; // columns in all
