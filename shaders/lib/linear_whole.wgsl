// For linear_tile: every invocation sums all terms.

const SPLIT_K = 1u;

fn add_parts(thread: u32, acc: ptr<function, Tile>) {}
