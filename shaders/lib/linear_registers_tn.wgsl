// tn of lib/linear_registers.wgsl, for files with OUTER = 1.

#import linear_registers

// Two terms at a time: sums are read and written half as often. Trips: BLOCKS (k / 2 + 2 k / DEEP) + k / DEEP.
@compute @workgroup_size(LANES)
fn tn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * tiles() * ROWS;
    let past = min(first + tiles() * ROWS, params.m);
    let quad = group.y * LANES * QUADS + lane;
    let ldx = params.ldx / 4u;
    let ldw = params.ldw / 4u;
    var cols = columns(quad);
    for (var deep = 0u; deep < params.k; deep += DEEP) {
        for (var row = first; row < past; row += ROWS) {
            var rows: array<u32, ROWS / 4u>;
            for (var g = 0u; g < ROWS / 4u; g++) {
                rows[g] = min(row / 4u + g, params.m / 4u - 1u);
            }
            var acc = load(row, deep, &cols);
            let end = min(deep + DEEP, params.k);
            for (var k = deep; k + 1u < end; k += 2u) {
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
                        for (var i = 0u; i < 4u; i++) {
                            acc[0][g * 4u + i][j] = acc[0][g * 4u + i][j] + a[i] * w[j] + b[i] * v[j];
                        }
                    }
                }
            }
            if end % 2u == 1u {
                let k = end - 1u;
                for (var g = 0u; g < ROWS / 4u; g++) {
                    let a = x4[k * ldx + rows[g]];
                    for (var j = 0u; j < QUADS; j++) {
                        for (var i = 0u; i < 4u; i++) {
                            acc[0][g * 4u + i][j] += a[i] * w4[k * ldw + cols[j]];
                        }
                    }
                }
            }
            store(row, quad, &acc);
        }
    }
}
