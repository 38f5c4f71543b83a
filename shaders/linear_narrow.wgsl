// nt of linear.wgsl for a Y of few columns, such as the rank of an adapter: an invocation makes ROWS rows by 4 * QUADS
// columns in registers, and the 8 of a workgroup lie along the rows, where linear.wgsl, which has them along the columns,
// would leave most without work. Grid = (ceil(n / COLUMNS), ceil(m / (LANES * ROWS)), 1). n, k, ldx, ldw and ldy are
// multiples of 4.
//
// Trips per invocation: k / 4; the inner loops have constant bounds and are unrolled.

#import linear_params

@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> addend4: array<vec4<f32>>;

const LANES = 8u; // an invocation's rows are LANES apart
const ROWS = 16u;
const QUADS = 4u; // groups of four neighbouring columns
const COLUMNS = 4u * QUADS;

@compute @workgroup_size(LANES)
fn nt(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.y * LANES * ROWS + lane;
    var rows: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        rows[i] = min(first + i * LANES, params.m - 1u) * (params.ldx / 4u);
    }
    let ldq = params.ldw / 4u;
    var cols: array<u32, QUADS>;
    for (var j = 0u; j < QUADS; j++) {
        cols[j] = min(group.x * QUADS + j, params.n / 4u - 1u) * 4u * ldq;
    }
    var acc: array<array<vec4<f32>, QUADS>, ROWS>;
    // Terms are added to what is there, in the order of linear.wgsl: the same bits with a packed W.
    if params.accumulate != 0u {
        for (var i = 0u; i < ROWS; i++) {
            let y = min(first + i * LANES, params.m - 1u) * (params.ldy / 4u);
            for (var j = 0u; j < QUADS; j++) {
                acc[i][j] = y4[y + min(group.x * QUADS + j, params.n / 4u - 1u)];
            }
        }
    }
    for (var k = 0u; k < params.k / 4u; k++) {
        var wk: array<mat4x4<f32>, QUADS>;
        for (var j = 0u; j < QUADS; j++) {
            let at = cols[j] + k;
            wk[j] = mat4x4(w4[at], w4[at + ldq], w4[at + 2u * ldq], w4[at + 3u * ldq]);
        }
        for (var i = 0u; i < ROWS; i++) {
            let xk = x4[rows[i] + k];
            for (var j = 0u; j < QUADS; j++) {
                acc[i][j] += xk * wk[j];
            }
        }
    }
    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < QUADS; j++) {
            put(first + i * LANES, group.x * QUADS + j, acc[i][j]);
        }
    }
}

fn put(row: u32, quad: u32, sums: vec4<f32>) {
    if row >= params.m || quad * 4u >= params.n {
        return;
    }
    let to = row * (params.ldy / 4u) + quad;
    var sum = sums;
    if params.addend != NOTHING {
        sum += addend4[addend_row(row) / 4u + quad];
    }
    y4[to] = sum;
}
