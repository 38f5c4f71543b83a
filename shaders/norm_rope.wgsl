// RMSNorm of a head and its rotation in one: y = rope(x * r * w), as rms_norm.wgsl and rope.wgsl have them. Gradients, with
// n = x * r, d = dy turned back and g = d * w:
//   dx = r * (g - n * mean(g * n)),   dw = sum over rows of d * n.
//
// x, y, dy, dx: [rows, D] with rows = T * heads; weight: [D]; rstd (r): [rows]; positions: [T]; cosines, sines:
// [positions, R / 2].

#import grid
#import sum

struct Params {
    rows: u32,
    heads: u32,
    head_dim: u32, // D, even
    half: u32, // R / 2
    eps: f32,
    offset: f32, // of the weight
    accumulate: u32, // backward: add to dx
    block: u32, // backward_weight: rows that one invocation sums
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> cosines: array<f32>;
@group(0) @binding(4) var<storage, read> sines: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> rstd: array<f32>;

// Channels of a pair within its head: first the pairs that turn, then two neighbours each of those that stay.
fn channels(pair: u32) -> vec2<u32> {
    if pair < params.half {
        return vec2(pair, pair + params.half);
    }
    return vec2(2u * pair, 2u * pair + 1u);
}

// Cosine and sine of a pair of a row.
fn angle(row: u32, pair: u32) -> vec2<f32> {
    if pair >= params.half {
        return vec2(1.0, 0.0);
    }
    let at = positions[row / params.heads] * params.half + pair;
    return vec2(cosines[at], sines[at]);
}

// One workgroup per row.
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    let base = row * params.head_dim;
    let inside = row < params.rows;
    var squares = 0.0;
    if inside {
        for (var c = lane; c < params.head_dim; c += LANES) {
            squares += x[base + c] * x[base + c];
        }
    }
    let r = inverseSqrt(workgroup_sum(squares, lane) / f32(params.head_dim) + params.eps);
    if !inside {
        return;
    }
    for (var pair = lane; pair < params.head_dim / 2u; pair += LANES) {
        let c = channels(pair);
        let a = x[base + c.x] * r * (weight[c.x] + params.offset);
        let b = x[base + c.y] * r * (weight[c.y] + params.offset);
        let turn = angle(row, pair);
        y[base + c.x] = a * turn.x - b * turn.y;
        y[base + c.y] = b * turn.x + a * turn.y;
    }
    if lane == 0u {
        rstd[row] = r;
    }
}

@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read> saved_rstd: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<f32>;

// dy of a pair, turned back.
fn unturned(row: u32, pair: u32) -> vec2<f32> {
    let c = row * params.head_dim + channels(pair);
    let a = dy[c.x];
    let b = dy[c.y];
    let turn = angle(row, pair);
    return vec2(a * turn.x + b * turn.y, b * turn.x - a * turn.y);
}

// One workgroup per row.
@compute @workgroup_size(LANES)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    let base = row * params.head_dim;
    let inside = row < params.rows;
    let pairs = params.head_dim / 2u;
    var dots = 0.0;
    var r = 0.0;
    if inside {
        r = saved_rstd[row];
        for (var pair = lane; pair < pairs; pair += LANES) {
            let c = channels(pair);
            let w = vec2(weight[c.x], weight[c.y]) + params.offset;
            dots += dot(unturned(row, pair) * w, vec2(x[base + c.x], x[base + c.y]));
        }
    }
    let mean = workgroup_sum(dots, lane) * r / f32(params.head_dim);
    if !inside {
        return;
    }
    for (var pair = lane; pair < pairs; pair += LANES) {
        let c = channels(pair);
        let w = vec2(weight[c.x], weight[c.y]) + params.offset;
        var d = r * (unturned(row, pair) * w - vec2(x[base + c.x], x[base + c.y]) * r * mean);
        if params.accumulate != 0u {
            d += vec2(dx[base + c.x], dx[base + c.y]);
        }
        dx[base + c.x] = d.x;
        dx[base + c.y] = d.y;
    }
}

// partial[p, c] = sum over the rows of block p of d * n; summed over blocks by column_sum. [blocks, D]
@group(0) @binding(7) var<storage, read_write> partial: array<f32>;

// One invocation per (pair of channels, block of rows). Trips: block.
@compute @workgroup_size(64)
fn backward_weight(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pair = group.x * 64u + lane;
    if pair >= params.head_dim / 2u {
        return;
    }
    let first = group.y * params.block;
    let last = min(first + params.block, params.rows);
    let c = channels(pair);
    var sum = vec2(0.0);
    for (var row = first; row < last; row++) {
        let base = row * params.head_dim;
        sum += unturned(row, pair) * vec2(x[base + c.x], x[base + c.y]) * saved_rstd[row];
    }
    partial[group.y * params.head_dim + c.x] = sum.x;
    partial[group.y * params.head_dim + c.y] = sum.y;
}
