// For linear_tile: every invocation sums all terms.

const SLICES = 1u;

fn add_slices(thread: u32, acc: ptr<function, Tile>) {}
