// Products of linear layers through workgroup memory: see lib/linear_tile.wgsl. ROWS by COLS numbers of Y an invocation; factors
// of `half` are rounded to f16, sums are f32.

#instance 8x8: const ROWS = 8u; const COLS = 8u; alias Staged = vec4<f32>; alias Tile = array<array<vec4<f32>, 2>, 8>; #import linear_whole
#instance 8x4: const ROWS = 8u; const COLS = 4u; alias Staged = vec4<f32>; alias Tile = array<array<vec4<f32>, 1>, 8>; #import linear_whole
#instance 4x4: const ROWS = 4u; const COLS = 4u; alias Staged = vec4<f32>; alias Tile = array<array<vec4<f32>, 1>, 4>; #import linear_whole
#instance 4x4_split_k: const ROWS = 4u; const COLS = 4u; alias Staged = vec4<f32>; alias Tile = array<array<vec4<f32>, 1>, 4>; #import linear_split_k
#instance 8x8_half: enable f16; const ROWS = 8u; const COLS = 8u; alias Staged = vec4<f16>; alias Tile = array<array<vec4<f32>, 2>, 8>; #import linear_whole
#instance 4x4_half_split_k: enable f16; const ROWS = 4u; const COLS = 4u; alias Staged = vec4<f16>; alias Tile = array<array<vec4<f32>, 1>, 4>; #import linear_split_k

#import linear_tile
#import numbers_f32
