// Products of linear layers through workgroup memory: see lib/linear_tile.wgsl.
// Invocations with 4 rows by 4 columns of Y each.

#import linear_tile
#import numbers_f32
#import linear_whole

const ROWS = 4u;
const COLS = 4u;
const BLOCKS = 2u;
alias Staged = vec4<f32>;
alias Tile = array<array<vec4<f32>, 1>, 4>;
