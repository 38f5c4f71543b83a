// Products by the matrix units of a device. A file that imports this says
//
//   const SIDE           rows, columns and depth of a product of the unit
//   const ROWS, COLS     such squares of Y that a subgroup makes, below and beside each other
//   const LOADS          groups of four numbers of X, and of W, that an invocation stages at a time, at most
//   alias Left, Right, Sum    the squares of X, W and Y; Rights: array<Right, COLS>; Sums: array<Sum, ROWS * COLS>
//   alias Staged, const PER   what the blocks of X and W are staged as, and how many numbers one holds
//   fn put_x, put_w      stage four numbers
//
// and constants choose the rest. A workgroup of SX * SY subgroups makes SY * ROWS * SIDE rows by SX * COLS * SIDE columns of
// Y: grid = (ceil(n / columns), ceil(m / rows), 1). For each DEPTH terms, the invocations copy a block of X and one of W to
// workgroup memory, as they lie in memory: the units read either way. A line of a block is longer by PAD, so that the lines
// of a square begin in different banks. While one block is multiplied, the next is on its way to registers.
//
// Squares of a full tile are read and written where they are. At ragged edges, and where something is added besides, they
// pass through workgroup memory one at a time.
//
// SUBGROUP must be the size of the device's subgroups, and invocations must be numbered along them, as they are everywhere.
// The units' operations want uniform control flow.
//
// Trips of an invocation: ceil(k / DEPTH) times (1 + DEPTH / SIDE), and at edges ROWS * COLS times (1 + SIDE * SIDE /
// SUBGROUP) three times; other loops are short and unrolled.

#import linear_params

@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> addend: array<f32>;

override SUBGROUP: u32 = 32u;
override SX: u32 = 1u; // subgroups along the columns of Y
override SY: u32 = 1u; // along its rows
override DEPTH: u32 = 32u; // a multiple of SIDE
override BUFFERS: u32 = 1u; // 2: one is filled while the other is multiplied, for half of the barriers
override X_DEEP: u32 = 1u; // 1: rows of X run along the depth: nt and nn
override W_DEEP: u32 = 1u; // 1: nt

const PAD = 8u;
override THREADS: u32 = SUBGROUP * SX * SY;
override TILE_M: u32 = SY * ROWS * SIDE;
override TILE_N: u32 = SX * COLS * SIDE;
override X_LINES: u32 = X_DEEP * TILE_M + (1u - X_DEEP) * DEPTH;
override W_LINES: u32 = W_DEEP * TILE_N + (1u - W_DEEP) * DEPTH;
override X_QUADS: u32 = (X_DEEP * DEPTH + (1u - X_DEEP) * TILE_M) / 4u; // of a line
override W_QUADS: u32 = (W_DEEP * DEPTH + (1u - W_DEEP) * TILE_N) / 4u;
override X_LD: u32 = 4u * X_QUADS + PAD; // numbers from one line to the next
override W_LD: u32 = 4u * W_QUADS + PAD;
override X_STAGE: u32 = X_LINES * X_LD;
override W_STAGE: u32 = W_LINES * W_LD;
override X_SIZE: u32 = X_STAGE / PER * BUFFERS; // named, for naga fails where an array's size is a product itself
override W_SIZE: u32 = W_STAGE / PER * BUFFERS;
override EDGE: u32 = SX * SY * SIDE * SIDE;
override X_LOADS: u32 = (TILE_M * DEPTH / 4u + THREADS - 1u) / THREADS; // at most LOADS
override W_LOADS: u32 = (TILE_N * DEPTH / 4u + THREADS - 1u) / THREADS;

var<workgroup> stage_x: array<Staged, X_SIZE>;
var<workgroup> stage_w: array<Staged, W_SIZE>;
var<workgroup> edge: array<f32, EDGE>;

alias Quads = array<vec4<f32>, LOADS>;

// Zeros beyond the last term; rows past the edge are the last again.
fn load_x(first: vec2<u32>, line: u32, quad: u32) -> vec4<f32> {
    let ld = params.ldx / 4u;
    if X_DEEP == 1u {
        let deep = first.y / 4u + quad;
        if deep * 4u < params.k {
            return x4[min(first.x + line, params.m - 1u) * ld + deep];
        }
    } else if first.y + line < params.k {
        return x4[(first.y + line) * ld + min(first.x / 4u + quad, params.m / 4u - 1u)];
    }
    return vec4<f32>();
}

fn load_w(first: vec2<u32>, line: u32, quad: u32) -> vec4<f32> {
    let ld = params.ldw / 4u;
    if W_DEEP == 1u {
        let deep = first.y / 4u + quad;
        if deep * 4u < params.k {
            return w4[min(first.x + line, params.n - 1u) * ld + deep];
        }
    } else if first.y + line < params.k {
        return w4[(first.y + line) * ld + min(first.x / 4u + quad, params.n / 4u - 1u)];
    }
    return vec4<f32>();
}

// This invocation's part of the blocks from term `k` on.
fn fetch(thread: u32, origin: vec2<u32>, k: u32, xs: ptr<function, Quads>, ws: ptr<function, Quads>) {
    for (var i = 0u; i < X_LOADS; i++) {
        let q = thread + i * THREADS;
        (*xs)[i] = load_x(vec2(origin.x, k), q / X_QUADS, q % X_QUADS);
    }
    for (var i = 0u; i < W_LOADS; i++) {
        let q = thread + i * THREADS;
        (*ws)[i] = load_w(vec2(origin.y, k), q / W_QUADS, q % W_QUADS);
    }
}

fn put(thread: u32, buffer: u32, xs: ptr<function, Quads>, ws: ptr<function, Quads>) {
    for (var i = 0u; i < X_LOADS; i++) {
        let q = thread + i * THREADS;
        if q < X_LINES * X_QUADS {
            put_x(buffer * X_STAGE + q / X_QUADS * X_LD + q % X_QUADS * 4u, (*xs)[i]);
        }
    }
    for (var i = 0u; i < W_LOADS; i++) {
        let q = thread + i * THREADS;
        if q < W_LINES * W_QUADS {
            put_w(buffer * W_STAGE + q / W_QUADS * W_LD + q % W_QUADS * 4u, (*ws)[i]);
        }
    }
}

// Adds the products of one staged block. `own`: this subgroup's first row and column in the tile.
fn multiply_block(buffer: u32, own: vec2<u32>, acc: ptr<function, Sums>) {
    for (var k = 0u; k < DEPTH; k += SIDE) {
        var b: Rights;
        for (var j = 0u; j < COLS; j++) {
            let col = own.y + j * SIDE;
            if W_DEEP == 1u {
                b[j] = coopLoad<Right>(&stage_w[(buffer * W_STAGE + col * W_LD + k) / PER], W_LD / PER);
            } else {
                b[j] = coopLoadT<Right>(&stage_w[(buffer * W_STAGE + k * W_LD + col) / PER], W_LD / PER);
            }
        }
        for (var i = 0u; i < ROWS; i++) {
            let row = own.x + i * SIDE;
            var a: Left;
            if X_DEEP == 1u {
                a = coopLoadT<Left>(&stage_x[(buffer * X_STAGE + row * X_LD + k) / PER], X_LD / PER);
            } else {
                a = coopLoad<Left>(&stage_x[(buffer * X_STAGE + k * X_LD + row) / PER], X_LD / PER);
            }
            for (var j = 0u; j < COLS; j++) {
                (*acc)[i * COLS + j] = coopMultiplyAdd(a, b[j], (*acc)[i * COLS + j]);
            }
        }
    }
}

fn multiply(thread: u32, origin: vec2<u32>, own: vec2<u32>, acc: ptr<function, Sums>) {
    var xs: Quads;
    var ws: Quads;
    fetch(thread, origin, 0u, &xs, &ws);
    put(thread, 0u, &xs, &ws);
    workgroupBarrier();
    var buffer = 0u;
    for (var k = 0u; k < params.k; k += DEPTH) {
        // Behind the last term there are zeros, which add nothing.
        fetch(thread, origin, k + DEPTH, &xs, &ws);
        multiply_block(buffer, own, acc);
        if BUFFERS == 1u {
            workgroupBarrier();
        } else {
            buffer = 1u - buffer;
        }
        put(thread, buffer, &xs, &ws);
        workgroupBarrier();
    }
}

// This subgroup's first row and column in the tile.
fn place(thread: u32) -> vec2<u32> {
    let subgroup = thread / SUBGROUP;
    return vec2(subgroup / SX * ROWS * SIDE, subgroup % SX * COLS * SIDE);
}

// The squares of Y at `at`, to be added to.
fn read_full(at: vec2<u32>, acc: ptr<function, Sums>) {
    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < COLS; j++) {
            let start = (at.x + i * SIDE) * params.ldy + at.y + j * SIDE;
            (*acc)[i * COLS + j] = coopLoadT<Sum>(&y[start], params.ldy);
        }
    }
}

fn write_full(at: vec2<u32>, acc: ptr<function, Sums>) {
    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < COLS; j++) {
            let to = (at.x + i * SIDE) * params.ldy + at.y + j * SIDE;
            // Named first: naga writes the store before what it is given otherwise.
            let square = (*acc)[i * COLS + j];
            let ld = params.ldy;
            coopStoreT(square, &y[to], ld);
        }
    }
}

// Square `i` of this subgroup to its place in workgroup memory.
fn to_edge(thread: u32, i: u32, acc: ptr<function, Sums>) {
    let square = (*acc)[i];
    let to = thread / SUBGROUP * SIDE * SIDE;
    coopStoreT(square, &edge[to], SIDE);
    workgroupBarrier();
}

// From there to Y at `at`, number by number.
fn from_edge(thread: u32, at: vec2<u32>) {
    let first = thread / SUBGROUP * SIDE * SIDE;
    for (var e = thread % SUBGROUP; e < SIDE * SIDE; e += SUBGROUP) {
        let row = at.x + e / SIDE;
        let col = at.y + e % SIDE;
        if row < params.m && col < params.n {
            y[row * params.ldy + col] = edge[first + e];
        }
    }
    workgroupBarrier();
}

// Adds what is in Y.
fn add_before(thread: u32, at: vec2<u32>) {
    let first = thread / SUBGROUP * SIDE * SIDE;
    for (var e = thread % SUBGROUP; e < SIDE * SIDE; e += SUBGROUP) {
        let row = min(at.x + e / SIDE, params.m - 1u);
        edge[first + e] += y[row * params.ldy + min(at.y + e % SIDE, params.n - 1u)];
    }
}

// Last: a residual may be far larger than what is added to it.
fn add(thread: u32, at: vec2<u32>) {
    let first = thread / SUBGROUP * SIDE * SIDE;
    for (var e = thread % SUBGROUP; e < SIDE * SIDE; e += SUBGROUP) {
        let row = min(at.x + e / SIDE, params.m - 1u);
        edge[first + e] += addend[addend_row(row) + min(at.y + e % SIDE, params.n - 1u)];
    }
}

// Any form that adds nothing besides.
@compute @workgroup_size(THREADS)
fn plain(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let origin = vec2(group.y * TILE_M, group.x * TILE_N);
    let own = place(thread);
    let full = (origin.x + TILE_M <= params.m) & (origin.y + TILE_N <= params.n);
    var acc: Sums;
    for (var i = 0u; i < ROWS * COLS; i++) {
        acc[i] = Sum();
    }
    if full & (params.accumulate != 0u) {
        read_full(origin + own, &acc);
    }
    multiply(thread, origin, own, &acc);
    if full {
        write_full(origin + own, &acc);
    } else {
        for (var i = 0u; i < ROWS * COLS; i++) {
            to_edge(thread, i, &acc);
            let at = origin + own + vec2(i / COLS, i % COLS) * SIDE;
            if params.accumulate != 0u {
                add_before(thread, at);
            }
            from_edge(thread, at);
        }
    }
}

// nt.
@compute @workgroup_size(THREADS)
fn adding(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let origin = vec2(group.y * TILE_M, group.x * TILE_N);
    let own = place(thread);
    let full = (origin.x + TILE_M <= params.m) & (origin.y + TILE_N <= params.n) & (params.addend == NOTHING);
    var acc: Sums;
    for (var i = 0u; i < ROWS * COLS; i++) {
        acc[i] = Sum();
    }
    if full & (params.accumulate != 0u) {
        read_full(origin + own, &acc);
    }
    multiply(thread, origin, own, &acc);
    if full {
        write_full(origin + own, &acc);
    } else {
        for (var i = 0u; i < ROWS * COLS; i++) {
            to_edge(thread, i, &acc);
            let at = origin + own + vec2(i / COLS, i % COLS) * SIDE;
            if params.accumulate != 0u {
                add_before(thread, at);
            }
            if params.addend != NOTHING {
                add(thread, at);
            }
            from_edge(thread, at);
        }
    }
}
