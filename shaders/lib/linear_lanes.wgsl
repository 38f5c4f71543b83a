// Products in registers, for software drivers: no workgroup memory, and tiles as large as they keep. A file that imports
// this says
//
//   const ROWS, QUADS   rows and groups of four columns of Y that an invocation makes; ROWS a multiple of 4
//   alias Tile          array<array<vec4<f32>, QUADS>, ROWS>
//
// A workgroup of 8 makes ROWS rows by 32 * QUADS columns: grid = (ceil(n / columns), ceil(m / ROWS), 1). Its invocations
// share their rows, so that newer drivers see that they read the same numbers of X and read them once; numbers of W cost a
// read of each invocation, so that more rows for each are cheaper than more columns. Offsets are made before the loop,
// because these drivers hoist nothing, and tiles are arrays of arrays, because only those stay in registers there.
//
// Trips per invocation: k / 4 in nt and nn, k / 2 in tn; the inner loops have constant bounds and are unrolled.

#import linear_params

@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias4: array<vec4<f32>>;

const LANES = 8u; // invocations side by side; one's groups of columns are LANES apart

fn row_starts(row: u32) -> array<u32, ROWS> {
    var starts: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        starts[i] = min(row + i, params.m - 1u) * (params.ldx / 4u);
    }
    return starts;
}

// Columns past the edge are the last again.
fn columns(quad: u32) -> array<u32, QUADS> {
    var quads: array<u32, QUADS>;
    for (var j = 0u; j < QUADS; j++) {
        quads[j] = min(quad + j * LANES, params.n / 4u - 1u);
    }
    return quads;
}

fn store(row: u32, quad: u32, acc: ptr<function, Tile>) {
    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < QUADS; j++) {
            let at = quad + j * LANES;
            if row + i < params.m && at * 4u < params.n {
                let to = (row + i) * (params.ldy / 4u) + at;
                var sum = (*acc)[i][j];
                if params.accumulate != 0u {
                    sum += y4[to];
                }
                y4[to] = sum;
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn nt(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * ROWS;
    let quad = group.x * LANES * QUADS + lane;
    let ldw = params.ldw / 4u;
    var rows = row_starts(row);
    var cols = columns(quad);
    var acc: Tile;
    for (var k = 0u; k < params.k / 4u; k++) {
        var wk: array<mat4x4<f32>, QUADS>;
        for (var j = 0u; j < QUADS; j++) {
            let n = cols[j] * params.ldw + k;
            wk[j] = mat4x4(w4[n], w4[n + ldw], w4[n + 2u * ldw], w4[n + 3u * ldw]);
        }
        for (var i = 0u; i < ROWS; i++) {
            let xk = x4[rows[i] + k];
            for (var j = 0u; j < QUADS; j++) {
                acc[i][j] += xk * wk[j];
            }
        }
    }
    if params.has_bias != 0u {
        for (var j = 0u; j < QUADS; j++) {
            for (var i = 0u; i < ROWS; i++) {
                acc[i][j] += bias4[cols[j]];
            }
        }
    }
    store(row, quad, &acc);
}

@compute @workgroup_size(LANES)
fn nn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * ROWS;
    let quad = group.x * LANES * QUADS + lane;
    let ldw = params.ldw / 4u;
    var rows = row_starts(row);
    var cols = columns(quad);
    var acc: Tile;
    for (var k = 0u; k < params.k / 4u; k++) {
        var wk: array<mat4x4<f32>, QUADS>;
        for (var j = 0u; j < QUADS; j++) {
            let n = k * params.ldw + cols[j];
            wk[j] = mat4x4(w4[n], w4[n + ldw], w4[n + 2u * ldw], w4[n + 3u * ldw]);
        }
        for (var i = 0u; i < ROWS; i++) {
            let xk = x4[rows[i] + k];
            for (var j = 0u; j < QUADS; j++) {
                acc[i][j] += wk[j] * xk;
            }
        }
    }
    store(row, quad, &acc);
}

@compute @workgroup_size(LANES)
fn tn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * ROWS;
    let quad = group.x * LANES * QUADS + lane;
    let ldx = params.ldx / 4u;
    let ldw = params.ldw / 4u;
    var rows: array<u32, ROWS / 4u>;
    for (var g = 0u; g < ROWS / 4u; g++) {
        rows[g] = min(row / 4u + g, params.m / 4u - 1u);
    }
    var cols = columns(quad);
    var acc: Tile;
    // Two terms at a time: sums are read and written half as often.
    for (var k = 0u; k + 1u < params.k; k += 2u) {
        var w: array<vec4<f32>, QUADS>;
        var v: array<vec4<f32>, QUADS>;
        for (var j = 0u; j < QUADS; j++) {
            w[j] = w4[k * ldw + cols[j]];
            v[j] = w4[(k + 1u) * ldw + cols[j]];
        }
        for (var g = 0u; g < ROWS / 4u; g++) {
            let a = x4[k * ldx + rows[g]];
            let b = x4[(k + 1u) * ldx + rows[g]];
            for (var j = 0u; j < QUADS; j++) {
                acc[g * 4u][j] = acc[g * 4u][j] + a.x * w[j] + b.x * v[j];
                acc[g * 4u + 1u][j] = acc[g * 4u + 1u][j] + a.y * w[j] + b.y * v[j];
                acc[g * 4u + 2u][j] = acc[g * 4u + 2u][j] + a.z * w[j] + b.z * v[j];
                acc[g * 4u + 3u][j] = acc[g * 4u + 3u][j] + a.w * w[j] + b.w * v[j];
            }
        }
    }
    if params.k % 2u == 1u {
        let k = params.k - 1u;
        for (var g = 0u; g < ROWS / 4u; g++) {
            let a = x4[k * ldx + rows[g]];
            for (var j = 0u; j < QUADS; j++) {
                let w = w4[k * ldw + cols[j]];
                acc[g * 4u][j] += a.x * w;
                acc[g * 4u + 1u][j] += a.y * w;
                acc[g * 4u + 2u][j] += a.z * w;
                acc[g * 4u + 3u][j] += a.w * w;
            }
        }
    }
    store(row, quad, &acc);
}
