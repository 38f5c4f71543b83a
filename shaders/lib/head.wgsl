// What every relation of logits to a loss shares: a chunk of n tokens, whose logits become their gradients in place. A
// relation is a shader of its own with two entry points: `statistics`, and `gradients`, which reads what the first left.
//
// Running state of a set of logits (Milakov & Gimelshein 2018, extended): m = max, s = sum e^(z-m), t = sum e^(z-m) (z-m);
// logsumexp = m + ln s, H = ln s - t / s. It is kept of all logits but the target's, which joins at the end: m is then what
// the target has to beat.
//
// strong, weak: [n, stride] logits, then their gradients: V columns and what fills them up to a multiple of 4, which is
// masked when read and may be written. targets, weights: [n]; a weight of 0 marks a token that is no target: its
// statistics and gradients are 0. stats: [n, STATS], columns named below.

#import grid
#import loss_scalars
#import running

struct Params {
    vocab: u32, // V
    stride: u32, // elements from one row of logits to the next, a multiple of 4
    per_cap_strong: f32, // 1 / cap of logits that are capped; 0: they are as they were
    per_cap_weak: f32,
    turned: u32, // 1: token v meets the weak logit of v + its row's offset
    observed: u32, // 1: the columns of the loss stay as they are
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> strong4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> weak4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read> scalars: array<f32>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;
@group(0) @binding(6) var<storage, read> offsets: array<u32>; // [n]
@group(0) @binding(7) var<storage, read> watched: array<u32>; // [n]: a token whose strong logit is wanted

// The same, element by element: neighbours within four may be written by different invocations.
@group(0) @binding(0) var<storage, read_write> strong: array<f32>;
@group(0) @binding(1) var<storage, read_write> weak: array<f32>;

const LOSS = 0u;
const MARGIN = 1u; // z_y - max over the others of z_v
const ENTROPY = 2u; // of z
const ENTROPY_STRONG = 3u;
const ENTROPY_WEAK = 4u;
const TARGET = 5u; // z_s of the target
const MEAN = 6u; // mean of z_s over the vocabulary
const TARGET_WEAK = 7u;
const MEAN_WEAK = 8u;
const GRAD_NON_TARGET = 9u; // norm over all but the target of the gradient of the loss, of weight 1, by z_s; smoothing left out
const GRAD_NON_TARGET_ALONE = 10u; // the same of the cross-entropy of z_s alone
const DISTRACTOR = 11u; // the token other than the target with the largest z_s
const DISTRACTOR_LOGIT = 12u;
const WATCHED = 13u; // z_s of the watched token
const LOGSUMEXP = 14u; // of z; this and those below are for the gradient
const LOGSUMEXP_STUDENT = 15u; // of z_s / T
const LOGSUMEXP_TEACHER = 16u; // of the teacher's logits / T
const STATS = 17u;

// Derivative of a logit's cap where it has the value z.
fn slope(z: vec4<f32>, per_cap: f32) -> vec4<f32> {
    let t = z * per_cap;
    return 1.0 - t * t;
}

// Where the weak logit that meets token v stands.
fn turned(row: u32, v: u32) -> u32 {
    if params.turned == 0u {
        return v;
    }
    let at = v + offsets[row];
    return select(at, at - params.vocab, at >= params.vocab);
}

// The tokens of four neighbours.
fn tokens(quad: u32) -> vec4<u32> {
    return 4u * quad + vec4(0u, 1u, 2u, 3u);
}

// Those of them that exist and are not the target.
fn others(v: vec4<u32>, target_id: u32) -> vec4<bool> {
    return (v < vec4(params.vocab)) & (v != vec4(target_id));
}

fn strong_at(row: u32, v: u32) -> f32 {
    let i = row * params.stride + v;
    return strong4[i / 4u][i % 4u];
}

fn weak_at(row: u32, v: u32) -> f32 {
    let i = row * params.stride + v;
    return weak4[i / 4u][i % 4u];
}

// Four logits; beyond the row, some others of it.
fn strong_quad(row: u32, quad: u32) -> vec4<f32> {
    let quads = params.stride / 4u;
    return strong4[row * quads + min(quad, quads - 1u)];
}

fn weak_quad(row: u32, quad: u32) -> vec4<f32> {
    let quads = params.stride / 4u;
    if params.turned == 0u {
        return weak4[row * quads + min(quad, quads - 1u)];
    }
    let v = min(tokens(quad), vec4(params.vocab - 1u));
    return vec4(
        weak_at(row, turned(row, v.x)),
        weak_at(row, turned(row, v.y)),
        weak_at(row, turned(row, v.z)),
        weak_at(row, turned(row, v.w)),
    );
}

var<workgroup> first_scratch: atomic<u32>;

// Call from uniform control flow before a barrier that the workgroup passes before `first_of`.
fn start_first(lane: u32) {
    if lane == 0u {
        atomicStore(&first_scratch, params.vocab - 1u);
    }
}

// Every invocation's best, given the best of all; then a barrier, then `first_scratch` is the first token that has it.
fn offer_first(best: Best, most: f32) {
    if best.z == most {
        atomicMin(&first_scratch, best.v);
    }
}

fn clear_stats(row: u32, lane: u32) {
    if lane < STATS && params.observed == 0u {
        stats[row * STATS + lane] = 0.0;
    }
}

// `all`: what the loss is taken of, with its logits' target z. `margin` and `non_target` as the columns say.
fn write_loss(row: u32, all: Running, loss: f32, margin: f32, non_target: f32, soft: vec2<f32>) {
    if params.observed != 0u {
        return;
    }
    let at = row * STATS;
    stats[at + LOSS] = loss;
    stats[at + MARGIN] = margin;
    stats[at + ENTROPY] = entropy(all);
    stats[at + GRAD_NON_TARGET] = non_target;
    stats[at + LOGSUMEXP] = logsumexp(all);
    stats[at + LOGSUMEXP_STUDENT] = soft.x;
    stats[at + LOGSUMEXP_TEACHER] = soft.y;
}

// Of the strong model, whatever the loss. `all` of its logits, the largest but the target's being `distractor`.
fn write_strong(row: u32, all: Running, distractor: f32) {
    let at = row * STATS;
    stats[at + ENTROPY_STRONG] = entropy(all);
    stats[at + TARGET] = strong_at(row, targets[row]);
    stats[at + MEAN] = all.sums.w / f32(params.vocab);
    stats[at + GRAD_NON_TARGET_ALONE] = norm_of_others(all);
    stats[at + DISTRACTOR] = f32(atomicLoad(&first_scratch));
    stats[at + DISTRACTOR_LOGIT] = distractor;
    stats[at + WATCHED] = strong_at(row, min(watched[row], params.vocab - 1u));
}

fn write_weak(row: u32, h: f32, z: f32, mean: f32) {
    let at = row * STATS;
    stats[at + ENTROPY_WEAK] = h;
    stats[at + TARGET_WEAK] = z;
    stats[at + MEAN_WEAK] = mean;
}

// Cross-entropy of logits whose running state is `all`, with smoothed targets; `sum` of the logits.
fn cross_entropy(all: Running, z: f32, sum: f32) -> f32 {
    let eps = scalars[SMOOTHING];
    return logsumexp(all) - (1.0 - eps) * z - eps * sum / f32(params.vocab);
}

fn sum_of(a: vec4<f32>, keep_a: vec4<bool>, b: vec4<f32>, keep_b: vec4<bool>) -> f32 {
    return dot(select(vec4(0.0), a, keep_a) + select(vec4(0.0), b, keep_b), ONE);
}

const ROUND = 64u; // invocations of a workgroup that makes gradients

// w (q_v - (1 - eps) [v = y] - eps / V)
fn gradient_of(row: u32, v: vec4<u32>, z: vec4<f32>) -> vec4<f32> {
    let q = exp(z - stats[row * STATS + LOGSUMEXP]);
    let eps = scalars[SMOOTHING];
    let label = select(vec4(0.0), vec4(1.0 - eps), v == vec4(targets[row]));
    return weights[row] * scalars[LOSS_SCALE] * (q - label - eps / f32(params.vocab));
}
