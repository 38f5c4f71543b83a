// Causal convolution of each channel with weights of its own, within a document:
//
//   y[t][c] = bias[c] + sum over lags l < L of w[c][L - 1 - l] x[t - l][c],   t - l no earlier than the document of t
//
// Gradients: dx[t][c] = sum over l of w[c][L - 1 - l] dy[t + l][c], t + l in the document of t;
// dw[c][L - 1 - l] = sum over t of dy[t][c] x[t - l][c].
//
// x, y: [T, C]; w: [C, L]; bias: [C]; spans: [T], whose x is the first token of t's document; ends: [T], one past its last.
// Trips of an invocation: L, or BLOCK tokens in backward_weight.

#import grid

struct Params {
    tokens: u32, // T
    channels: u32, // C
    taps: u32, // L
    biased: u32, // 0: no bias; then any tensor stands in its place
    accumulate: u32, // 1: add to the gradient
    capacity: u32, // rows of a text, as `rows` counts them
    kept: u32, // rows of a text in the cache
}

var<immediate> params: Params;

const BLOCK = 32u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// Token and channel of an invocation.
fn element(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> vec2<u32> {
    let i = group_index(group, groups) * 64u + lane;
    return vec2(i / params.channels, i % params.channels);
}

fn bias_of(c: u32) -> f32 {
    if params.biased != 0u {
        return bias[c];
    }
    return 0.0;
}

fn tap(c: u32, lag: u32) -> f32 {
    return weight[c * params.taps + params.taps - 1u - lag];
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let e = element(group, groups, lane);
    if e.x >= params.tokens {
        return;
    }
    let count = min(params.taps, e.x - spans[e.x].x + 1u);
    var sum = bias_of(e.y);
    for (var lag = 0u; lag < count; lag++) {
        sum += tap(e.y, lag) * x[(e.x - lag) * params.channels + e.y];
    }
    y[e.x * params.channels + e.y] = sum;
}

@group(0) @binding(5) var<storage, read> ends: array<u32>;
@group(0) @binding(6) var<storage, read> dy: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let e = element(group, groups, lane);
    if e.x >= params.tokens {
        return;
    }
    let at = e.x * params.channels + e.y;
    let count = min(params.taps, max(ends[e.x], e.x) - e.x);
    var sum = 0.0;
    for (var lag = 0u; lag < count; lag++) {
        sum += tap(e.y, lag) * dy[(e.x + lag) * params.channels + e.y];
    }
    if params.accumulate != 0u {
        sum += dx[at];
    }
    dx[at] = sum;
}

// [blocks, C, L]: sums over BLOCK tokens each.
@group(0) @binding(8) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(64)
fn backward_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    let weights = params.channels * params.taps;
    let first = i / weights * BLOCK;
    if first >= params.tokens {
        return;
    }
    let c = i % weights / params.taps;
    let lag = params.taps - 1u - i % params.taps;
    var sum = 0.0;
    for (var t = first; t < min(first + BLOCK, params.tokens); t++) {
        if t >= spans[t].x + lag {
            sum += dy[t * params.channels + c] * x[(t - lag) * params.channels + c];
        }
    }
    partial[i] = sum;
}

// Where text is generated: `rows` numbers the tokens, `capacity` for each text; the cache has the last `kept` of each.
@group(0) @binding(9) var<storage, read> rows: array<u32>;
@group(0) @binding(10) var<storage, read_write> cache: array<f32>;

fn cache_row(row: u32) -> u32 {
    return row / params.capacity * params.kept + row % params.capacity % params.kept;
}

@compute @workgroup_size(64)
fn keep(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let e = element(group, groups, lane);
    if e.x < params.tokens {
        cache[cache_row(rows[e.x]) * params.channels + e.y] = x[e.x * params.channels + e.y];
    }
}

@group(0) @binding(11) var<storage, read> cached: array<f32>;

// spans[t].x is the first row of t's text.
@compute @workgroup_size(64)
fn decode(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let e = element(group, groups, lane);
    if e.x >= params.tokens {
        return;
    }
    let row = rows[e.x];
    let count = min(params.taps, row - spans[e.x].x + 1u);
    var sum = bias_of(e.y);
    for (var lag = 0u; lag < count; lag++) {
        sum += tap(e.y, lag) * cached[cache_row(row - lag) * params.channels + e.y];
    }
    y[e.x * params.channels + e.y] = sum;
}
