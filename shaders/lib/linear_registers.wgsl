// Products in registers: no workgroup memory, and tiles as large as software drivers keep. A file that imports this, and
// the numbers of W (`dequantized`: the `at`-th four of them), says
//
//   const OUTER, INNER, QUADS   a tile is OUTER * INNER rows by QUADS groups of four columns of Y
//   const BLOCKS                at most so many tiles are made by an invocation
//
// A workgroup of 8 makes some tiles (`tiles`) below each other: grid = (ceil(ceil(m / rows of a tile) / tiles), ceil(n /
// (32 * QUADS)), 1). Its invocations share their rows, so that newer drivers see that they read the same numbers of X and
// read them once; numbers of W cost a read of each invocation, so that more rows for each are cheaper than more columns.
// Offsets are made before the loop, because these drivers hoist nothing, and tiles are arrays of arrays, because only those
// stay in registers there. Rows come in OUTER times INNER, because loops of more than 32 rounds are not unrolled.
//
// DEEP terms at a time go into all tiles of an invocation, and workgroups below each other follow each other, so that what
// they read of W is still in a processor's cache when they read it again.
//
// Trips per invocation: BLOCKS (k / 4 + k / DEEP + 1) + k / DEEP; the inner loops have constant bounds and are unrolled.

#import linear_params

@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> addend4: array<vec4<f32>>;

const ROWS = OUTER * INNER;
const LANES = 8u; // invocations side by side; one's groups of columns are LANES apart
const COLUMNS = 4u * LANES * QUADS; // of a workgroup
const DEEP = 512u;
const WORKGROUPS = 8u; // are enough to keep some cores busy

alias Tile = array<array<array<vec4<f32>, QUADS>, INNER>, OUTER>;
alias Starts = array<array<u32, INNER>, OUTER>; // where rows of X begin

// Tiles below each other that an invocation makes.
fn tiles() -> u32 {
    let all = (params.m + ROWS - 1u) / ROWS * ((params.n + COLUMNS - 1u) / COLUMNS);
    return clamp(all / WORKGROUPS, 1u, BLOCKS);
}

fn row_starts(row: u32) -> Starts {
    var starts: Starts;
    for (var o = 0u; o < OUTER; o++) {
        for (var i = 0u; i < INNER; i++) {
            starts[o][i] = min(row + o * INNER + i, params.m - 1u) * (params.ldx / 4u);
        }
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

// Four numbers each of four rows of W, `ldq` fours apart.
fn block(at: u32, ldq: u32, groups_at: u32) -> mat4x4<f32> {
    return mat4x4(
        dequantized(at, groups_at),
        dequantized(at + ldq, groups_at),
        dequantized(at + 2u * ldq, groups_at),
        dequantized(at + 3u * ldq, groups_at),
    );
}

// Words before the groups of a W of this many rows.
fn groups_begin(rows: u32) -> u32 {
    return rows * (params.ldw / 64u) * 2u * BITS;
}

// The sums before the terms from `deep` on.
fn load(row: u32, deep: u32, cols: ptr<function, array<u32, QUADS>>) -> Tile {
    let begun = deep > 0u || params.accumulate != 0u;
    var acc: Tile;
    for (var o = 0u; o < OUTER; o++) {
        for (var i = 0u; i < INNER; i++) {
            let y = min(row + o * INNER + i, params.m - 1u) * (params.ldy / 4u);
            for (var j = 0u; j < QUADS; j++) {
                acc[o][i][j] = select(vec4<f32>(), y4[y + (*cols)[j]], begun);
            }
        }
    }
    return acc;
}

// Adds to Y, when its sums stand: a residual may be far larger than they are. Apart from their loop, which would be slower.
fn add(row: u32, quad: u32) {
    for (var o = 0u; o < OUTER; o++) {
        for (var i = 0u; i < INNER; i++) {
            let y = row + o * INNER + i;
            for (var j = 0u; j < QUADS; j++) {
                let at = quad + j * LANES;
                if y < params.m && at * 4u < params.n {
                    y4[y * (params.ldy / 4u) + at] += addend4[addend_row(y) / 4u + at];
                }
            }
        }
    }
}

fn store(row: u32, quad: u32, acc: ptr<function, Tile>) {
    for (var o = 0u; o < OUTER; o++) {
        for (var i = 0u; i < INNER; i++) {
            for (var j = 0u; j < QUADS; j++) {
                let y = row + o * INNER + i;
                let at = quad + j * LANES;
                if y < params.m && at * 4u < params.n {
                    y4[y * (params.ldy / 4u) + at] = (*acc)[o][i][j];
                }
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn nt(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * tiles() * ROWS;
    let past = min(first + tiles() * ROWS, params.m);
    let quad = group.y * LANES * QUADS + lane;
    let groups_at = groups_begin(params.n);
    var cols = columns(quad);
    for (var deep = 0u; deep < params.k; deep += DEEP) {
        for (var row = first; row < past; row += ROWS) {
            var rows = row_starts(row);
            var acc = load(row, deep, &cols);
            for (var k = deep / 4u; k < min(deep + DEEP, params.k) / 4u; k++) {
                var wk: array<mat4x4<f32>, QUADS>;
                for (var j = 0u; j < QUADS; j++) {
                    wk[j] = block(cols[j] * params.ldw + k, params.ldw / 4u, groups_at);
                }
                for (var o = 0u; o < OUTER; o++) {
                    for (var i = 0u; i < INNER; i++) {
                        let xk = x4[rows[o][i] + k];
                        for (var j = 0u; j < QUADS; j++) {
                            acc[o][i][j] += xk * wk[j];
                        }
                    }
                }
            }
            store(row, quad, &acc);
        }
    }
    if params.addend != NOTHING {
        for (var row = first; row < past; row += ROWS) {
            add(row, quad);
        }
    }
}

@compute @workgroup_size(LANES)
fn nn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * tiles() * ROWS;
    let past = min(first + tiles() * ROWS, params.m);
    let quad = group.y * LANES * QUADS + lane;
    let groups_at = groups_begin(params.k);
    var cols = columns(quad);
    for (var deep = 0u; deep < params.k; deep += DEEP) {
        for (var row = first; row < past; row += ROWS) {
            var rows = row_starts(row);
            var acc = load(row, deep, &cols);
            for (var k = deep / 4u; k < min(deep + DEEP, params.k) / 4u; k++) {
                var wk: array<mat4x4<f32>, QUADS>;
                for (var j = 0u; j < QUADS; j++) {
                    wk[j] = block(k * params.ldw + cols[j], params.ldw / 4u, groups_at);
                }
                for (var o = 0u; o < OUTER; o++) {
                    for (var i = 0u; i < INNER; i++) {
                        let xk = x4[rows[o][i] + k];
                        for (var j = 0u; j < QUADS; j++) {
                            acc[o][i][j] += wk[j] * xk;
                        }
                    }
                }
            }
            store(row, quad, &acc);
        }
    }
}
