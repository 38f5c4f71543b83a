// Columns of the row of step scalars: what kernels read that changes from step to step. The host writes them before every
// step, but for those at the end, which it starts and `clip` moves.
const LOSS_SCALARS = 0u; // where those of the loss begin: lib/loss_scalars.wgsl
const OPTIMIZER_SCALARS = 5u; // where those of the optimizer begin: lib/optimizer_scalars.wgsl
const LOSS_SCALE = 17u; // what gradients are multiplied by, a power of two
const GOOD_STEPS = 18u; // since the loss scale moved
const SCALARS = 19u; // columns in all
