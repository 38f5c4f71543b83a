// Products of linear layers with 32 rows by 4 columns of Y in the registers of an invocation: see lib/linear_lanes.wgsl.

#import linear_lanes

const ROWS = 32u;
const QUADS = 1u;
alias Tile = array<array<vec4<f32>, 1>, 32>;
