// Products through workgroup memory, for GPUs. A file that imports this says
//
//   const ROWS, COLS   rows and columns of Y that an invocation makes, multiples of 4
//   alias Staged       vec4<f32>, or vec4<f16> where factors are rounded
//   alias Tile         array<array<vec4<f32>, COLS / 4>, ROWS>
//
// and imports the loader of the numbers of W, and linear_split_k or, for one part alone, linear_whole. Constants choose the rest. A workgroup makes TY * ROWS
// rows by TX * COLS columns of Y: grid = (ceil(n / columns), ceil(m / rows), 1). For each SPLIT_K * DEPTH terms, the
// invocations copy a block of X and one of W to workgroup memory, depth first, so that an invocation reads its factors of
// one term as vec4 that lie beside those of its neighbours. While these are multiplied, the next blocks are on their way to
// registers. With SPLIT_K > 1 each part of TX * TY invocations sums its own DEPTH of the terms, and the parts are added in
// order at the end: for results too small to fill a device otherwise.
//
// Where an operand's rows run along the depth, four rows of four are turned in registers on their way. The groups of four
// columns are then stored in an order that depends on the depth (`turned`), because invocations that store at the same time
// would meet in the same banks; padding cannot separate them.
//
// WX invocations of 32 lie side by side along the columns, as 32 run in step on most devices: as square as can be, they
// read the fewest different numbers.
//
// Trips of an invocation: ceil(k / (SPLIT_K * DEPTH)) times (1 + DEPTH / 4); other loops are short and unrolled.

#import linear_params

const BLOCKS = 2u; // of 4 x 4 numbers that an invocation stages at a time, at most

@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> addend4: array<vec4<f32>>;

override TX: u32 = 8u; // invocations along the columns of Y, a multiple of WX
override TY: u32 = 8u; // along its rows, a multiple of 32 / WX
override WX: u32 = 8u;
override DEPTH: u32 = 8u;
override BUFFERS: u32 = 1u; // 2: one is filled while the other is multiplied, for half of the barriers
override X_DEEP: bool = true; // rows of X run along the depth: nt and nn
override W_DEEP: bool = true; // nt

override THREADS: u32 = TX * TY * SPLIT_K;
override STEP: u32 = SPLIT_K * DEPTH; // terms staged at a time
override X_QUADS: u32 = TY * ROWS / 4u; // groups of four rows of a block
override W_QUADS: u32 = TX * COLS / 4u;
override X_BLOCKS: u32 = X_QUADS * STEP / 4u;
override W_BLOCKS: u32 = W_QUADS * STEP / 4u;
override LOADS: u32 = (X_BLOCKS + W_BLOCKS + THREADS - 1u) / THREADS; // at most BLOCKS
override X_STAGE: u32 = X_QUADS * STEP;
override W_STAGE: u32 = W_QUADS * STEP;
override X_SIZE: u32 = X_STAGE * BUFFERS; // named, for naga fails where an array's size is a product itself
override W_SIZE: u32 = W_STAGE * BUFFERS;
override TURN: u32 = 8u / min(8u, STEP / 4u);

var<workgroup> stage_x: array<Staged, X_SIZE>;
var<workgroup> stage_w: array<Staged, W_SIZE>;

// Blocks have no name of their own: naga takes an array for another type than what a name stands for.
alias Blocks = array<array<vec4<f32>, 4>, BLOCKS>;

// Where the group `quad` of the row of depth `4 * deep + ..` is stored.
fn turned(quad: u32, deep: u32, quads: u32) -> u32 {
    return quad ^ ((deep * TURN) & (min(8u, quads) - 1u));
}

// Of a block's number, how far down the depth it lies, in fours, and which group of four it is. Neighbours read what is
// neighboured in memory.
fn spread(block: u32, quads: u32, deep: bool) -> vec2<u32> {
    if deep {
        return vec2(block % (STEP / 4u), block / (STEP / 4u));
    }
    return vec2(block / quads, block % quads);
}

fn transposed(b: array<vec4<f32>, 4>) -> array<vec4<f32>, 4> {
    return array<vec4<f32>, 4>(
        vec4(b[0].x, b[1].x, b[2].x, b[3].x),
        vec4(b[0].y, b[1].y, b[2].y, b[3].y),
        vec4(b[0].z, b[1].z, b[2].z, b[3].z),
        vec4(b[0].w, b[1].w, b[2].w, b[3].w),
    );
}

// Four terms by four rows of X, zeros beyond the last term. Rows past the edge are the last again.
fn load_x(deep: u32, quad: u32) -> array<vec4<f32>, 4> {
    let ld = params.ldx / 4u;
    var b: array<vec4<f32>, 4>;
    if X_DEEP {
        if deep * 4u < params.k {
            for (var c = 0u; c < 4u; c++) {
                b[c] = x4[min(quad * 4u + c, params.m - 1u) * ld + deep];
            }
        }
        return transposed(b);
    }
    let at = min(quad, params.m / 4u - 1u);
    for (var c = 0u; c < 4u; c++) {
        if deep * 4u + c < params.k {
            b[c] = x4[(deep * 4u + c) * ld + at];
        }
    }
    return b;
}

fn load_w(deep: u32, quad: u32) -> array<vec4<f32>, 4> {
    let ld = params.ldw / 4u;
    let groups_at = select(params.k, params.n, W_DEEP) * (params.ldw / 64u) * 2u * BITS;
    var b: array<vec4<f32>, 4>;
    if W_DEEP {
        if deep * 4u < params.k {
            for (var c = 0u; c < 4u; c++) {
                b[c] = dequantized(min(quad * 4u + c, params.n - 1u) * ld + deep, groups_at);
            }
        }
        return transposed(b);
    }
    let at = min(quad, params.n / 4u - 1u);
    for (var c = 0u; c < 4u; c++) {
        if deep * 4u + c < params.k {
            b[c] = dequantized((deep * 4u + c) * ld + at, groups_at);
        }
    }
    return b;
}

// This invocation's blocks from term `4 * deep` on. `origin`: the workgroup's first groups of four rows and columns.
fn fetch(thread: u32, origin: vec2<u32>, deep: u32, blocks: ptr<function, Blocks>) {
    for (var i = 0u; i < LOADS; i++) {
        let block = thread + i * THREADS;
        if block < X_BLOCKS {
            let at = spread(block, X_QUADS, X_DEEP);
            (*blocks)[i] = load_x(deep + at.x, origin.x + at.y);
        } else if block < X_BLOCKS + W_BLOCKS {
            let at = spread(block - X_BLOCKS, W_QUADS, W_DEEP);
            (*blocks)[i] = load_w(deep + at.x, origin.y + at.y);
        }
    }
}

fn put(thread: u32, buffer: u32, blocks: ptr<function, Blocks>) {
    for (var i = 0u; i < LOADS; i++) {
        let block = thread + i * THREADS;
        if block < X_BLOCKS {
            let at = spread(block, X_QUADS, X_DEEP);
            let to = buffer * X_STAGE + at.x * 4u * X_QUADS + turned(at.y, at.x, X_QUADS);
            for (var c = 0u; c < 4u; c++) {
                stage_x[to + c * X_QUADS] = Staged((*blocks)[i][c]);
            }
        } else if block < X_BLOCKS + W_BLOCKS {
            let at = spread(block - X_BLOCKS, W_QUADS, W_DEEP);
            let to = buffer * W_STAGE + at.x * 4u * W_QUADS + turned(at.y, at.x, W_QUADS);
            for (var c = 0u; c < 4u; c++) {
                stage_w[to + c * W_QUADS] = Staged((*blocks)[i][c]);
            }
        }
    }
}

// Adds the products of four terms that are staged. `at`: this invocation's row and column among its part.
fn multiply_four(buffer: u32, deep: u32, at: vec2<u32>, acc: ptr<function, Tile>) {
    for (var c = 0u; c < 4u; c++) {
        var a: array<vec4<f32>, ROWS / 4u>;
        for (var g = 0u; g < ROWS / 4u; g++) {
            let quad = turned(at.y + g * TY, deep, X_QUADS);
            a[g] = vec4<f32>(stage_x[buffer * X_STAGE + (deep * 4u + c) * X_QUADS + quad]);
        }
        var b: array<vec4<f32>, COLS / 4u>;
        for (var j = 0u; j < COLS / 4u; j++) {
            let quad = turned(at.x + j * TX, deep, W_QUADS);
            b[j] = vec4<f32>(stage_w[buffer * W_STAGE + (deep * 4u + c) * W_QUADS + quad]);
        }
        for (var g = 0u; g < ROWS / 4u; g++) {
            for (var j = 0u; j < COLS / 4u; j++) {
                (*acc)[g * 4u][j] += a[g].x * b[j];
                (*acc)[g * 4u + 1u][j] += a[g].y * b[j];
                (*acc)[g * 4u + 2u][j] += a[g].z * b[j];
                (*acc)[g * 4u + 3u][j] += a[g].w * b[j];
            }
        }
    }
}

// This invocation's place among its part, and which part that is.
fn place(thread: u32) -> vec3<u32> {
    let inside = thread % (TX * TY);
    let lane = inside % 32u;
    let warp = inside / 32u;
    return vec3(
        lane % WX + WX * (warp % (TX / WX)),
        lane / WX + 32u / WX * (warp / (TX / WX)),
        thread / (TX * TY),
    );
}

// The sums of this invocation's rows and columns; those of part 0 are of all parts.
fn multiply(group: vec3<u32>, thread: u32, acc: ptr<function, Tile>) {
    let at = place(thread);
    let origin = vec2(group.y * X_QUADS, group.x * W_QUADS);
    var blocks: Blocks;
    fetch(thread, origin, 0u, &blocks);
    put(thread, 0u, &blocks);
    workgroupBarrier();
    var buffer = 0u;
    let steps = (params.k + STEP - 1u) / STEP;
    for (var step = 0u; step < steps; step++) {
        if step + 1u < steps {
            fetch(thread, origin, (step + 1u) * (STEP / 4u), &blocks);
        }
        for (var deep = 0u; deep < DEPTH / 4u; deep++) {
            multiply_four(buffer, at.z * (DEPTH / 4u) + deep, at.xy, acc);
        }
        if BUFFERS == 1u {
            workgroupBarrier();
        } else {
            buffer = 1u - buffer;
        }
        if step + 1u < steps {
            put(thread, buffer, &blocks);
        }
        workgroupBarrier();
    }
    add_parts(thread, acc);
}

// Row `i` of this invocation, whose place is `at`.
fn row_of(group: vec3<u32>, at: vec3<u32>, i: u32) -> u32 {
    return (group.y * X_QUADS + at.y + i / 4u * TY) * 4u + i % 4u;
}

// Adds what is in Y.
fn add_before(group: vec3<u32>, thread: u32, acc: ptr<function, Tile>) {
    let at = place(thread);
    for (var i = 0u; i < ROWS; i++) {
        let row = row_of(group, at, i);
        for (var j = 0u; j < COLS / 4u; j++) {
            let quad = group.x * W_QUADS + at.x + j * TX;
            if at.z == 0u && row < params.m && quad * 4u < params.n {
                (*acc)[i][j] += y4[row * (params.ldy / 4u) + quad];
            }
        }
    }
}

// Last: a residual may be far larger than what is added to it.
fn add(group: vec3<u32>, thread: u32, acc: ptr<function, Tile>) {
    let at = place(thread);
    for (var i = 0u; i < ROWS; i++) {
        let start = addend_row(min(row_of(group, at, i), params.m - 1u)) / 4u;
        for (var j = 0u; j < COLS / 4u; j++) {
            (*acc)[i][j] += addend4[start + min(group.x * W_QUADS + at.x + j * TX, params.n / 4u - 1u)];
        }
    }
}

// Writes part 0's sums. What lies past the edge is left alone.
fn store(group: vec3<u32>, thread: u32, acc: ptr<function, Tile>) {
    let at = place(thread);
    for (var i = 0u; i < ROWS; i++) {
        let row = row_of(group, at, i);
        for (var j = 0u; j < COLS / 4u; j++) {
            let quad = group.x * W_QUADS + at.x + j * TX;
            if at.z == 0u && row < params.m && quad * 4u < params.n {
                y4[row * (params.ldy / 4u) + quad] = (*acc)[i][j];
            }
        }
    }
}

// Any form that adds nothing besides.
@compute @workgroup_size(THREADS)
fn plain(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    var acc: Tile;
    multiply(group, thread, &acc);
    if params.accumulate != 0u {
        add_before(group, thread, &acc);
    }
    store(group, thread, &acc);
}

// nt.
@compute @workgroup_size(THREADS)
fn adding(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    var acc: Tile;
    multiply(group, thread, &acc);
    if params.accumulate != 0u {
        add_before(group, thread, &acc);
    }
    if params.addend != NOTHING {
        add(group, thread, &acc);
    }
    store(group, thread, &acc);
}
