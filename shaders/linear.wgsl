// Matrix products of a linear layer, all row-major, all f32:
//
//   nt:  Y[m,n] (+)= sum_k X[m,k] W[n,k] (+ bias[n])    Y  = X W^T + b    the forward pass
//   nn:  Y[m,n] (+)= sum_k X[m,k] W[k,n]                dX = dY W         the input's gradient
//   tn:  Y[m,n] (+)= sum_k X[k,m] W[k,n]                dW = dY^T X       the weight's gradient
//
// Every form exists twice. `nt4`, `nn4`, `tn4` read four numbers at a time and want n, ldx, ldw, ldy and k (tn4: m) to
// be multiples of 4; `nt`, `nn`, `tn` take any sizes >= 1 at half the speed. `nt4_row` is nt4 for fewer than 8 rows
// (decoding), where a tile would be mostly empty.
//
// Trips per invocation: k / 4 in nt4, nn4 and nt4_row, k in the others; the inner loops have constant bounds and are
// unrolled. Mesa 22.3 ends loops silently after about 65,535, so the host splits k (with `accumulate`) to stay under
// 32,768.

#import linear_registers

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(1) var<storage, read> w4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

@compute @workgroup_size(32)
fn nt4(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = place(group, thread);
    let ldw = params.ldw / 4u;
    var rows = row_starts(at, params.ldx / 4u);
    var cols = quads(at);
    var acc: Tile;
    for (var k = 0u; k < params.k / 4u; k++) {
        var wk: Block;
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
    store4(at, &acc);
}

@compute @workgroup_size(32)
fn nn4(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = place(group, thread);
    let ldw = params.ldw / 4u;
    var rows = row_starts(at, params.ldx / 4u);
    var cols = quads(at);
    var acc: Tile;
    for (var k = 0u; k < params.k / 4u; k++) {
        var wk: Block;
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
    store4(at, &acc);
}

@compute @workgroup_size(32)
fn tn4(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = place(group, thread);
    let ldx = params.ldx / 4u;
    let ldw = params.ldw / 4u;
    let low = min(at.x / 4u, params.m / 4u - 1u);
    let high = min(at.x / 4u + 1u, params.m / 4u - 1u);
    var cols = quads(at);
    var acc: Tile;
    for (var k = 0u; k < params.k; k++) {
        let xk = array(x4[k * ldx + low], x4[k * ldx + high]);
        var wk: array<vec4<f32>, 4>;
        for (var j = 0u; j < QUADS; j++) {
            wk[j] = w4[k * ldw + cols[j]];
        }
        for (var i = 0u; i < 4u; i++) {
            for (var j = 0u; j < QUADS; j++) {
                acc[i][j] += xk[0][i] * wk[j];
                acc[i + 4u][j] += xk[1][i] * wk[j];
            }
        }
    }
    store4(at, &acc);
}

// One row of Y per workgroup row: a thread makes 4 columns, grid = (ceil(n / 128), m, 1).
@compute @workgroup_size(32)
fn nt4_row(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quad = group.x * THREADS + thread;
    let ldw = params.ldw / 4u;
    let row = group.y * (params.ldx / 4u);
    let col = min(quad, params.n / 4u - 1u) * params.ldw;
    var acc = vec4<f32>();
    for (var k = 0u; k < params.k / 4u; k++) {
        let n = col + k;
        acc += x4[row + k] * mat4x4(w4[n], w4[n + ldw], w4[n + 2u * ldw], w4[n + 3u * ldw]);
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

// Any sizes, number by number. `steps` tells the forms apart: along X's rows, X's depth, W's columns, W's depth.
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
            let to = row * params.ldy + col + c;
            var sum = sums[c];
            if params.accumulate != 0u {
                sum += y[to];
            }
            y[to] = sum;
        }
    }
}

@compute @workgroup_size(32)
fn nt(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = place(group, thread);
    var acc: Tile;
    multiply(at, vec4(params.ldx, 1u, params.ldw, 1u), &acc);
    if params.has_bias != 0u {
        for (var j = 0u; j < QUADS; j++) {
            let n = columns(at, j);
            let b = vec4(bias[n.x], bias[n.y], bias[n.z], bias[n.w]);
            for (var i = 0u; i < ROWS; i++) {
                acc[i][j] += b;
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
    store(at, &acc);
}

@compute @workgroup_size(32)
fn tn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = place(group, thread);
    var acc: Tile;
    multiply(at, vec4(1u, params.ldx, 1u, params.ldw), &acc);
    store(at, &acc);
}
