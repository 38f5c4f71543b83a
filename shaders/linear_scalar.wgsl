// The products of linear.wgsl for any sizes >= 1, number by number, at half the speed.
//
// A workgroup of 32 makes 32 rows by 128 columns of Y, each invocation 8 rows by 16 columns in registers: grid =
// (ceil(n / 128), ceil(m / 32), 1). Eight invocations lie side by side along the columns, so that a row of W is read as whole
// cache lines. Rows and columns past the edge read the last valid ones again and are not written. Trips: k.

#import linear_params

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> addend: array<f32>;

const ROWS = 8u; // of Y, per invocation
const QUADS = 4u; // groups of four neighbouring columns of Y, per invocation
const LANES = 8u; // invocations side by side; one's groups are LANES apart
const THREADS = 32u;

alias Tile = array<array<vec4<f32>, QUADS>, ROWS>;

// The first row and the first group of columns of this invocation.
fn place(group: vec3<u32>, thread: u32) -> vec2<u32> {
    return vec2(
        (group.y * (THREADS / LANES) + thread / LANES) * ROWS,
        group.x * LANES * QUADS + thread % LANES,
    );
}

// Where its rows begin in a matrix with `ld` numbers from one row to the next.
fn row_starts(at: vec2<u32>, ld: u32) -> array<u32, ROWS> {
    var to: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        to[i] = min(at.x + i, params.m - 1u) * ld;
    }
    return to;
}

// `steps` tells the forms apart: along X's rows, X's depth, W's columns, W's depth.
fn multiply(at: vec2<u32>, steps: vec4<u32>, acc: ptr<function, Tile>) {
    var rows = row_starts(at, steps.x);
    var cols: array<vec4<u32>, 4>;
    for (var j = 0u; j < QUADS; j++) {
        cols[j] = columns(at, j) * steps.z;
    }
    var deep = vec2<u32>(); // into X and W
    for (var k = 0u; k < params.k; k++) {
        var wk: array<vec4<f32>, 4>;
        for (var j = 0u; j < QUADS; j++) {
            let n = cols[j] + deep.y;
            wk[j] = vec4(w[n.x], w[n.y], w[n.z], w[n.w]);
        }
        for (var i = 0u; i < ROWS; i++) {
            let xk = x[rows[i] + deep.x];
            for (var j = 0u; j < QUADS; j++) {
                (*acc)[i][j] += xk * wk[j];
            }
        }
        deep += steps.yw;
    }
}

// Adds what is in Y.
fn add_before(at: vec2<u32>, acc: ptr<function, Tile>) {
    if params.accumulate != 0u {
        for (var i = 0u; i < ROWS; i++) {
            let row = min(at.x + i, params.m - 1u) * params.ldy;
            for (var j = 0u; j < QUADS; j++) {
                let n = row + columns(at, j);
                (*acc)[i][j] += vec4(y[n.x], y[n.y], y[n.z], y[n.w]);
            }
        }
    }
}

fn columns(at: vec2<u32>, j: u32) -> vec4<u32> {
    return min((at.y + j * LANES) * 4u + vec4(0u, 1u, 2u, 3u), vec4(params.n - 1u));
}

fn store(at: vec2<u32>, acc: ptr<function, Tile>) {
    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < QUADS; j++) {
            if at.x + i < params.m {
                put(at.x + i, (at.y + j * LANES) * 4u, (*acc)[i][j]);
            }
        }
    }
}

fn put(row: u32, col: u32, sums: vec4<f32>) {
    for (var c = 0u; c < 4u; c++) {
        if col + c < params.n {
            y[row * params.ldy + col + c] = sums[c];
        }
    }
}

@compute @workgroup_size(32)
fn nt(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = place(group, thread);
    var acc: Tile;
    multiply(at, vec4(params.ldx, 1u, params.ldw, 1u), &acc);
    add_before(at, &acc);
    // Last: a residual may be far larger than what is added to it.
    if params.addend != NOTHING {
        for (var j = 0u; j < QUADS; j++) {
            for (var i = 0u; i < ROWS; i++) {
                let n = addend_row(min(at.x + i, params.m - 1u)) + columns(at, j);
                acc[i][j] += vec4(addend[n.x], addend[n.y], addend[n.z], addend[n.w]);
            }
        }
    }
    store(at, &acc);
}

@compute @workgroup_size(32)
fn nn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = place(group, thread);
    var acc: Tile;
    multiply(at, vec4(params.ldx, 1u, 1u, params.ldw), &acc);
    add_before(at, &acc);
    store(at, &acc);
}

@compute @workgroup_size(32)
fn tn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = place(group, thread);
    var acc: Tile;
    multiply(at, vec4(1u, params.ldx, 1u, params.ldw), &acc);
    add_before(at, &acc);
    store(at, &acc);
}
