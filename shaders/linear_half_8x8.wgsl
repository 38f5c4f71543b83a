enable f16;

// Products of linear layers through workgroup memory: see lib/linear_tile.wgsl.
// Invocations with 8 rows by 8 columns of Y each, factors rounded to f16, sums in f32.

#import linear_tile
#import numbers_f32
#import linear_whole

const ROWS = 8u;
const COLS = 8u;
const BLOCKS = 2u;
alias Staged = vec4<f16>;
alias Tile = array<array<vec4<f32>, 2>, 8>;
