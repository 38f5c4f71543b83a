// What the products that keep a tile of Y in registers share: extents, the tile of a thread, and its end.
//
// A workgroup of 32 makes 32 rows by 128 columns of Y, each thread 8 rows by 16 columns in registers: grid =
// (ceil(n / 128), ceil(m / 32), 1). Eight threads lie side by side along the columns, so that a row of W is read as
// whole cache lines. No workgroup memory: software drivers are slower with it. Offsets are made before the loop,
// because those drivers hoist nothing, and tiles are arrays of arrays, because only those are unrolled into registers
// there. Rows and columns past the edge read the last valid ones again and are not written.

#import linear_params

@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y4: array<vec4<f32>>;

const ROWS = 8u; // of Y, per thread
const QUADS = 4u; // groups of four neighbouring columns of Y, per thread
const LANES = 8u; // threads side by side; a thread's groups are LANES apart
const THREADS = 32u;

alias Tile = array<array<vec4<f32>, 4>, 8>; // ROWS x QUADS
alias Rows = array<u32, 8>; // something per row of the tile
alias Quads = array<u32, 4>; // something per group of columns
alias Block = array<mat4x4<f32>, 4>; // 4 x 4 numbers of W per group of columns

// The first row and the first group of columns of this thread.
fn place(group: vec3<u32>, thread: u32) -> vec2<u32> {
    return vec2(
        (group.y * (THREADS / LANES) + thread / LANES) * ROWS,
        group.x * LANES * QUADS + thread % LANES,
    );
}

// Where this thread's rows begin in a matrix with `ld` numbers (or groups of four) from one row to the next.
fn row_starts(at: vec2<u32>, ld: u32) -> Rows {
    var to: Rows;
    for (var i = 0u; i < ROWS; i++) {
        to[i] = min(at.x + i, params.m - 1u) * ld;
    }
    return to;
}

fn quads(at: vec2<u32>) -> Quads {
    var to: Quads;
    for (var j = 0u; j < QUADS; j++) {
        to[j] = min(at.y + j * LANES, (params.n - 1u) / 4u);
    }
    return to;
}

fn store4(at: vec2<u32>, acc: ptr<function, Tile>) {
    let keep = params.accumulate != 0u;
    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < QUADS; j++) {
            let quad = at.y + j * LANES;
            if at.x + i < params.m && quad * 4u < params.n {
                let to = (at.x + i) * (params.ldy / 4u) + quad;
                var sum = (*acc)[i][j];
                if keep {
                    sum += y4[to];
                }
                y4[to] = sum;
            }
        }
    }
}
