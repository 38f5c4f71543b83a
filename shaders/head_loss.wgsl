// The loss head on a chunk of n tokens, in place on its logits.
//
//   z = lambda * z_s + (1 - lambda) * z_w   (z = z_s without a weak model),   q = softmax(z)
//   loss = logsumexp(z) - z_y,   H = logsumexp(z) - sum_v q_v z_v
//   g = w (q - e_y),   dz_s = lambda g,   dz_w = (1 - lambda) g
//
// One visit gives the loss, the entropies and then the gradient. Running state of a logit set (Milakov & Gimelshein
// 2018, extended by t): m = max, s = sum e^(z-m), t = sum e^(z-m) (z-m); logsumexp = m + ln s, H = ln s - t / s.
//
// strong, weak: [n, V] logits, then their gradients; targets, weights: [n]; a weight of 0 marks a token that is no
// target: its statistics and gradients are 0. stats: [n, 8], columns named below.

#import schedule

struct Params {
    rows: u32, // n
    vocab: u32, // V
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> strong: array<f32>;
@group(0) @binding(1) var<storage, read_write> weak: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read> schedule: array<f32>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;

const LOSS = 0u;
const MARGIN = 1u; // z_y - max over the others of z_v
const ENTROPY = 2u; // of z
const ENTROPY_STRONG = 3u;
const ENTROPY_WEAK = 4u;
const LOGSUMEXP = 5u;
const STATS = 8u;

const LANES = 128u;
const LOWEST = -1e30;

struct Running {
    m: f32,
    s: f32,
    t: f32,
}

fn merge(a: Running, b: Running) -> Running {
    let m = max(a.m, b.m);
    let da = a.m - m;
    let db = b.m - m;
    let ea = exp(da);
    let eb = exp(db);
    return Running(m, a.s * ea + b.s * eb, (a.t + da * a.s) * ea + (b.t + db * b.s) * eb);
}

fn push(a: Running, z: f32) -> Running {
    if z <= a.m {
        let d = z - a.m;
        let e = exp(d);
        return Running(a.m, a.s + e, a.t + d * e);
    }
    let d = a.m - z;
    let e = exp(d);
    return Running(z, a.s * e + 1.0, (a.t + d * a.s) * e);
}

var<workgroup> scratch: array<Running, LANES>;
var<workgroup> best_scratch: array<f32, LANES>;

// Merges over the workgroup in a fixed order; invocation 0 has the result. Call from uniform control flow.
fn reduce(value: Running, lane: u32) -> Running {
    scratch[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            scratch[lane] = merge(scratch[lane], scratch[lane + half]);
        }
        workgroupBarrier();
    }
    let total = scratch[0];
    workgroupBarrier();
    return total;
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    best_scratch[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            best_scratch[lane] = max(best_scratch[lane], best_scratch[lane + half]);
        }
        workgroupBarrier();
    }
    return best_scratch[0];
}

fn logsumexp(r: Running) -> f32 {
    return r.m + log(r.s);
}

fn entropy(r: Running) -> f32 {
    return log(r.s) - r.t / r.s;
}

fn clear_stats(row: u32, lane: u32) {
    if lane < STATS {
        stats[row * STATS + lane] = 0.0;
    }
}

// One workgroup per token. Trips: V / 128, at most 1,188 at V = 152,064.
@compute @workgroup_size(LANES)
fn stats_single(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    if weights[row] == 0.0 {
        clear_stats(row, lane);
        return;
    }
    let base = row * params.vocab;
    let target_id = targets[row];
    var r = Running(LOWEST, 0.0, 0.0);
    var best = LOWEST;
    for (var v = lane; v < params.vocab; v += LANES) {
        let z = strong[base + v];
        r = push(r, z);
        if v != target_id {
            best = max(best, z);
        }
    }
    let all = reduce(r, lane);
    let other = reduce_max(best, lane);
    if lane == 0u {
        let z = strong[base + target_id];
        let at = row * STATS;
        stats[at + LOSS] = logsumexp(all) - z;
        stats[at + MARGIN] = z - other;
        stats[at + ENTROPY] = entropy(all);
        stats[at + ENTROPY_STRONG] = entropy(all);
        stats[at + ENTROPY_WEAK] = 0.0;
        stats[at + LOGSUMEXP] = logsumexp(all);
    }
}

@compute @workgroup_size(LANES)
fn stats_mix(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    if weights[row] == 0.0 {
        clear_stats(row, lane);
        return;
    }
    let base = row * params.vocab;
    let target_id = targets[row];
    let lambda = schedule[LAMBDA];
    var r = Running(LOWEST, 0.0, 0.0);
    var r_strong = r;
    var r_weak = r;
    var best = LOWEST;
    for (var v = lane; v < params.vocab; v += LANES) {
        let z_s = strong[base + v];
        let z_w = weak[base + v];
        let z = lambda * z_s + (1.0 - lambda) * z_w;
        r_strong = push(r_strong, z_s);
        r_weak = push(r_weak, z_w);
        r = push(r, z);
        if v != target_id {
            best = max(best, z);
        }
    }
    let all = reduce(r, lane);
    let all_strong = reduce(r_strong, lane);
    let all_weak = reduce(r_weak, lane);
    let other = reduce_max(best, lane);
    if lane == 0u {
        let i = base + target_id;
        let z = lambda * strong[i] + (1.0 - lambda) * weak[i];
        let at = row * STATS;
        stats[at + LOSS] = logsumexp(all) - z;
        stats[at + MARGIN] = z - other;
        stats[at + ENTROPY] = entropy(all);
        stats[at + ENTROPY_STRONG] = entropy(all_strong);
        stats[at + ENTROPY_WEAK] = entropy(all_weak);
        stats[at + LOGSUMEXP] = logsumexp(all);
    }
}

// w (q_v - [v = y])
fn gradient_at(row: u32, v: u32, z: f32) -> f32 {
    let q = exp(z - stats[row * STATS + LOGSUMEXP]);
    return weights[row] * (q - select(0.0, 1.0, v == targets[row]));
}

// One invocation per logit; workgroups: (V / 64, n).
@compute @workgroup_size(64)
fn gradient_single(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let v = group.x * 64u + lane;
    let row = group.y;
    if v >= params.vocab {
        return;
    }
    let i = row * params.vocab + v;
    if weights[row] == 0.0 {
        strong[i] = 0.0;
    } else {
        strong[i] = gradient_at(row, v, strong[i]);
    }
}

@compute @workgroup_size(64)
fn gradient_mix(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let v = group.x * 64u + lane;
    let row = group.y;
    if v >= params.vocab {
        return;
    }
    let i = row * params.vocab + v;
    if weights[row] == 0.0 {
        strong[i] = 0.0;
        weak[i] = 0.0;
    } else {
        let lambda = schedule[LAMBDA];
        let g = gradient_at(row, v, lambda * strong[i] + (1.0 - lambda) * weak[i]);
        strong[i] = lambda * g;
        weak[i] = (1.0 - lambda) * g;
    }
}
