// Products of linear layers through workgroup memory: see lib/linear_tile.wgsl.
// W is packed. Invocations with 8 rows by 8 columns of Y each.

#import linear_tile
#import packed/*
#import linear_whole

const ROWS = 8u;
const COLS = 8u;
alias Staged = vec4<f32>;
alias Tile = array<array<vec4<f32>, 2>, 8>;
