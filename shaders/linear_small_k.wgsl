// nn of linear.wgsl for sums of few terms, such as the rank of an adapter: what it costs there is to read and write Y. Here
// an invocation keeps its columns of W for DEEP groups of four terms, makes one row of Y after the other, and reads Y only
// to add to it. The 8 of a workgroup lie along the columns. Grid = (ceil(n / COLUMNS), ceil(m / ROWS), 1). n, k, ldx, ldw
// and ldy are multiples of 4.
//
// Trips per invocation: ceil(k / (4 * DEEP)) * (1 + ROWS); the inner loops have constant bounds and are unrolled.

#import linear_params

@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y4: array<vec4<f32>>;

const LANES = 8u; // an invocation's groups of columns are LANES apart
const ROWS = 64u;
const QUADS = 4u; // groups of four neighbouring columns
const COLUMNS = 4u * LANES * QUADS;
const DEEP = 4u;

@compute @workgroup_size(LANES)
fn nn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let quad = group.x * LANES * QUADS + lane;
    var cols: array<u32, QUADS>;
    for (var j = 0u; j < QUADS; j++) {
        cols[j] = min(quad + j * LANES, params.n / 4u - 1u);
    }
    let past = min((group.y + 1u) * ROWS, params.m);
    for (var k = 0u; k < params.k / 4u; k += DEEP) {
        var wk = columns(k, &cols);
        for (var row = group.y * ROWS; row < past; row++) {
            let y = row * (params.ldy / 4u);
            var acc: array<vec4<f32>, QUADS>;
            if k > 0u || params.accumulate != 0u {
                for (var j = 0u; j < QUADS; j++) {
                    acc[j] = y4[y + cols[j]];
                }
            }
            for (var d = 0u; d < DEEP; d++) {
                if k + d < params.k / 4u {
                    let xk = x4[row * (params.ldx / 4u) + k + d];
                    for (var j = 0u; j < QUADS; j++) {
                        acc[j] += wk[d][j] * xk;
                    }
                }
            }
            for (var j = 0u; j < QUADS; j++) {
                if (quad + j * LANES) * 4u < params.n {
                    y4[y + quad + j * LANES] = acc[j];
                }
            }
        }
    }
}

// W's rows from `4 * k` on; those past the last are the last again.
fn columns(k: u32, cols: ptr<function, array<u32, QUADS>>) -> array<array<mat4x4<f32>, QUADS>, DEEP> {
    let ldq = params.ldw / 4u;
    var wk: array<array<mat4x4<f32>, QUADS>, DEEP>;
    for (var d = 0u; d < DEEP; d++) {
        let start = min(k + d, params.k / 4u - 1u) * 4u * ldq;
        for (var j = 0u; j < QUADS; j++) {
            let at = start + (*cols)[j];
            wk[d][j] = mat4x4(w4[at], w4[at + ldq], w4[at + 2u * ldq], w4[at + 3u * ldq]);
        }
    }
    return wk;
}
