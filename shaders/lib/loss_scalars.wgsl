#import step_scalars

const LAMBDA = LOSS_SCALARS; // share of the strong model in mixed logits
const SMOOTHING = LOSS_SCALARS + 1u; // share of the target spread evenly over the vocabulary
const RELATION = LOSS_SCALARS + 2u; // three columns with a meaning in one relation of logits only
