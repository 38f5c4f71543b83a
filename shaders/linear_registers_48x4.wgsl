// Products of linear layers with 48 rows by 4 columns of Y in the registers of an invocation: see lib/linear_registers.wgsl.

#import numbers_f32
#import linear_registers

const OUTER = 3u;
const INNER = 16u;
const QUADS = 1u;
const BLOCKS = 4u;

@group(0) @binding(0) var<storage, read> x: array<f32>;

// Four terms at a time, and numbers of X one by one: fours of them would want more registers than there are. Trips: BLOCKS
// (k / 4 + 3 + 2 k / DEEP) + k / DEEP.
@compute @workgroup_size(LANES)
fn tn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * tiles() * ROWS;
    let past = min(first + tiles() * ROWS, params.m);
    let quad = group.y * LANES * QUADS + lane;
    let ldw = params.ldw / 4u;
    var cols = columns(quad);
    for (var deep = 0u; deep < params.k; deep += DEEP) {
        for (var row = first; row < past; row += ROWS) {
            var rows: Starts;
            for (var o = 0u; o < OUTER; o++) {
                for (var i = 0u; i < INNER; i++) {
                    rows[o][i] = min(row + o * INNER + i, params.m - 1u);
                }
            }
            var acc = load(row, deep, &cols);
            let end = min(deep + DEEP, params.k);
            var k = deep;
            for (; k + 3u < end; k += 4u) {
                var wk: array<mat4x4<f32>, QUADS>;
                for (var j = 0u; j < QUADS; j++) {
                    wk[j] = block(k * ldw + cols[j], ldw, 0u);
                }
                for (var o = 0u; o < OUTER; o++) {
                    for (var i = 0u; i < INNER; i++) {
                        let at = k * params.ldx + rows[o][i];
                        let xk = vec4(x[at], x[at + params.ldx], x[at + 2u * params.ldx], x[at + 3u * params.ldx]);
                        for (var j = 0u; j < QUADS; j++) {
                            acc[o][i][j] += wk[j] * xk;
                        }
                    }
                }
            }
            for (; k < end; k++) {
                for (var o = 0u; o < OUTER; o++) {
                    for (var i = 0u; i < INNER; i++) {
                        for (var j = 0u; j < QUADS; j++) {
                            acc[o][i][j] += x[k * params.ldx + rows[o][i]] * w4[k * ldw + cols[j]];
                        }
                    }
                }
            }
            store(row, quad, &acc);
        }
    }
}
