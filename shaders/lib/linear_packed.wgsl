// Products with a frozen W whose numbers are held packed. A file for each number format imports this and its numbers, which
// say how the `at`-th four numbers of W are widened: `wide`.
//
//   nt:  Y[m,n] (+)= sum_k X[m,k] W[n,k] (+ bias[n])
//   nn:  Y[m,n] (+)= sum_k X[m,k] W[k,n]
//
// n and k are multiples of 4, the columns of W of 64, so that a group of numbers that share a scale never spans two rows.
// Trips: k / 4.

#import linear_registers

// Four numbers each of four rows of W, `ldq` fours apart.
fn block(at: u32, ldq: u32, groups_at: u32) -> mat4x4<f32> {
    return mat4x4(
        wide(at, groups_at),
        wide(at + ldq, groups_at),
        wide(at + 2u * ldq, groups_at),
        wide(at + 3u * ldq, groups_at),
    );
}

// Words before the groups of a W of this many rows.
fn groups_begin(rows: u32) -> u32 {
    return rows * (params.ldw / 64u) * 2u * BITS;
}

@compute @workgroup_size(32)
fn nt(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = place(group, thread);
    let ldq = params.ldw / 4u;
    let groups_at = groups_begin(params.n);
    var rows = row_starts(at, params.ldx / 4u);
    var cols = quads(at);
    var acc: Tile;
    for (var k = 0u; k < params.k / 4u; k++) {
        var wk: Block;
        for (var j = 0u; j < QUADS; j++) {
            wk[j] = block(cols[j] * params.ldw + k, ldq, groups_at);
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
    store4(at, &acc);
}

@compute @workgroup_size(32)
fn nn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = place(group, thread);
    let ldq = params.ldw / 4u;
    let groups_at = groups_begin(params.k);
    var rows = row_starts(at, params.ldx / 4u);
    var cols = quads(at);
    var acc: Tile;
    for (var k = 0u; k < params.k / 4u; k++) {
        var wk: Block;
        for (var j = 0u; j < QUADS; j++) {
            wk[j] = block(k * params.ldw + cols[j], ldq, groups_at);
        }
        for (var i = 0u; i < ROWS; i++) {
            let xk = x4[rows[i] + k];
            for (var j = 0u; j < QUADS; j++) {
                acc[i][j] += wk[j] * xk;
            }
        }
    }
    store4(at, &acc);
}

// nt for fewer than 8 rows: one row of Y per workgroup row, a thread makes 4 columns, grid = (ceil(n / 128), m, 1).
@compute @workgroup_size(32)
fn nt_row(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quad = group.x * THREADS + thread;
    let ldq = params.ldw / 4u;
    let groups_at = groups_begin(params.n);
    let row = group.y * (params.ldx / 4u);
    let col = min(quad, params.n / 4u - 1u) * params.ldw;
    var acc = vec4<f32>();
    for (var k = 0u; k < params.k / 4u; k++) {
        acc += x4[row + k] * block(col + k, ldq, groups_at);
    }
    if quad * 4u < params.n {
        let to = group.y * (params.ldy / 4u) + quad;
        if params.has_bias != 0u {
            acc += bias4[quad];
        }
        if params.accumulate != 0u {
            acc += y4[to];
        }
        y4[to] = acc;
    }
}
