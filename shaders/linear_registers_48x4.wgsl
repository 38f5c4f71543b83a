// Products of linear layers with 48 rows by 4 columns of Y in the registers of an invocation: see lib/linear_lanes.wgsl.

#import numbers_f32
#import linear_lanes

const OUTER = 3u;
const INNER = 16u;
const QUADS = 1u;
const BLOCKS = 4u;
