#import step_scalars

const LR = OPTIMIZER_SCALARS;
const BETA1 = OPTIMIZER_SCALARS + 1u;
const BETA2 = OPTIMIZER_SCALARS + 2u;
const EPS = OPTIMIZER_SCALARS + 3u;
const WEIGHT_DECAY = OPTIMIZER_SCALARS + 4u;
const CORRECTION1 = OPTIMIZER_SCALARS + 5u; // 1 - b1^t
const CORRECTION2 = OPTIMIZER_SCALARS + 6u; // sqrt(1 - b2^t)
const MAX_NORM = OPTIMIZER_SCALARS + 7u; // 0: no clipping
const GAIN1 = OPTIMIZER_SCALARS + 8u; // 1 - b1, rounded once: 1 - f32(0.999) is off by 1.3e-5
const GAIN2 = OPTIMIZER_SCALARS + 9u; // 1 - b2
const ROUNDING = OPTIMIZER_SCALARS + 10u; // where the randomness of rounding starts, a whole number below 2^24
const GROWTH = OPTIMIZER_SCALARS + 11u; // good steps after which the loss scale doubles; 0: it never does
