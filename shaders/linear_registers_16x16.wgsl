// Products of linear layers with 16 rows by 16 columns of Y in the registers of an invocation: see lib/linear_lanes.wgsl.

#import linear_lanes

const ROWS = 16u;
const QUADS = 4u;
alias Tile = array<array<vec4<f32>, 4>, 16>;
