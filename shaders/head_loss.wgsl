// The loss head on a chunk of n tokens, in place on its logits.
//
//   z = lambda * z_s + (1 - lambda) * z_w   (z = lambda * z_s without a second set),   q = softmax(z)
//   loss = logsumexp(z) - (1 - eps) z_y - eps mean(z),   H = logsumexp(z) - sum_v q_v z_v
//   g = w (q - (1 - eps) e_y - eps / V),   dz_s = lambda g,   dz_w = (1 - lambda) g
//
// or, with a teacher (p = softmax(z_s), p^T = softmax(z_s / T), t^T = softmax((z_w - b e_y) / T)):
//
//   loss = a (logsumexp(z_s) - z_sy) + (1 - a) T^2 KL(t^T || p^T)
//   dz_s = w (a (p - e_y) + (1 - a) T (p^T - t^T))
//
// One visit gives the loss, the entropies and then the gradient, times the loss scale. Running state of a logit set
// (Milakov & Gimelshein 2018, extended): m = max, s = sum e^(z-m), t = sum e^(z-m) (z-m); logsumexp = m + ln s,
// H = ln s - t / s. It is kept of all logits but the target's, which joins at the end: m is then what the target has to beat.
//
// strong, weak: [n, stride] logits, then their gradients: V columns and what fills them up to a multiple of 4, which is
// masked when read and may be written. targets, weights: [n]; a weight of 0 marks a token that is no target: its
// statistics and gradients are 0. stats: [n, STATS], columns named below. Logits that a model caps (Gemma 2:
// cap tanh(z / cap)) are capped in place first.

#import grid
#import running
#import schedule
#import softcap

struct Params {
    rows: u32, // n
    vocab: u32, // V
    stride: u32, // elements from one row of logits to the next, a multiple of 4
    cap: f32, // of logits still to be capped
    per_cap_strong: f32, // 1 / cap of logits that are capped; 0: they are as they were
    per_cap_weak: f32,
    turned: u32, // 1: token v meets the weak logit of v + its row's offset
    alone: u32, // mixed: 0 leaves out what is told of each set alone
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> strong4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> weak4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read> schedule: array<f32>;
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
const PULL = 9u; // norm over all but the target of the gradient of the loss, of weight 1, by z_s; smoothing left out
const PULL_ALONE = 10u; // the same of the cross-entropy of z_s alone
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
    if lane < STATS {
        stats[row * STATS + lane] = 0.0;
    }
}

// `all`: what the loss is taken of, with its logits' target z. `margin` and `pull` as the columns say.
fn tell(row: u32, all: Running, loss: f32, margin: f32, pulled: f32, soft: vec2<f32>) {
    let at = row * STATS;
    stats[at + LOSS] = loss;
    stats[at + MARGIN] = margin;
    stats[at + ENTROPY] = entropy(all);
    stats[at + PULL] = pulled;
    stats[at + LOGSUMEXP] = logsumexp(all);
    stats[at + LOGSUMEXP_STUDENT] = soft.x;
    stats[at + LOGSUMEXP_TEACHER] = soft.y;
}

// Of the strong model, whatever the loss. `all` of its logits, the largest but the target's being `distractor`.
fn tell_strong(row: u32, all: Running, distractor: f32) {
    let at = row * STATS;
    stats[at + ENTROPY_STRONG] = entropy(all);
    stats[at + TARGET] = strong_at(row, targets[row]);
    stats[at + MEAN] = all.sums.w / f32(params.vocab);
    stats[at + PULL_ALONE] = pull(all);
    stats[at + DISTRACTOR] = f32(atomicLoad(&first_scratch));
    stats[at + DISTRACTOR_LOGIT] = distractor;
    stats[at + WATCHED] = strong_at(row, min(watched[row], params.vocab - 1u));
}

fn tell_weak(row: u32, h: f32, z: f32, mean: f32) {
    let at = row * STATS;
    stats[at + ENTROPY_WEAK] = h;
    stats[at + TARGET_WEAK] = z;
    stats[at + MEAN_WEAK] = mean;
}

// Cross-entropy of logits whose running state is `all`, with smoothed targets; `sum` of the logits.
fn cross_entropy(all: Running, z: f32, sum: f32) -> f32 {
    let eps = schedule[SMOOTHING];
    return logsumexp(all) - (1.0 - eps) * z - eps * sum / f32(params.vocab);
}

fn sum_of(a: vec4<f32>, keep_a: vec4<bool>, b: vec4<f32>, keep_b: vec4<bool>) -> f32 {
    return dot(select(vec4(0.0), a, keep_a) + select(vec4(0.0), b, keep_b), ONE);
}

// One workgroup per token. Trips: V / 1024 and 80.
@compute @workgroup_size(LANES)
fn stats_single(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    if weights[row] == 0.0 {
        clear_stats(row, lane);
        return;
    }
    start_first(lane);
    let target_id = targets[row];
    let lambda = schedule[LAMBDA];
    let scaled = lambda != 1.0;
    var r_strong = START;
    var r = START;
    var best = Best(LOWEST, 0u);
    for (var quad = lane; quad < params.stride / 4u; quad += 2u * LANES) {
        let va = tokens(quad);
        let vb = tokens(quad + LANES);
        let keep_a = others(va, target_id);
        let keep_b = others(vb, target_id);
        let a = select(NONE, strong_quad(row, quad), keep_a);
        let b = select(NONE, strong_quad(row, quad + LANES), keep_b);
        r_strong = push(r_strong, a, b);
        r_strong.sums.w += sum_of(a, keep_a, b, keep_b);
        best = better(better(best, va, a), vb, b);
        if scaled {
            r = push(r, select(NONE, lambda * a, keep_a), select(NONE, lambda * b, keep_b));
        }
    }
    let most = reduce_most(vec4(r_strong.m, r.m, 0.0, 0.0), lane);
    offer_first(best, most.x);
    let sums = reduce_sums(mat3x4(raised(r_strong, most.x).sums, raised(r, most.y).sums, vec4(0.0)), lane);
    if lane == 0u {
        let z_s = strong_at(row, target_id);
        let z = lambda * z_s;
        let all_strong = whole(most.x, sums[0], z_s);
        var all = all_strong;
        if scaled {
            all = whole(most.y, sums[1], z);
        }
        let loss = cross_entropy(all, z, lambda * all_strong.sums.w);
        tell(row, all, loss, z - lambda * most.x, lambda * pull(all), vec2(0.0));
        tell_strong(row, all_strong, most.x);
        tell_weak(row, 0.0, 0.0, 0.0);
    }
}

@compute @workgroup_size(LANES)
fn stats_mix(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    if weights[row] == 0.0 {
        clear_stats(row, lane);
        return;
    }
    start_first(lane);
    let target_id = targets[row];
    let lambda = schedule[LAMBDA];
    var r = START;
    var r_strong = START;
    var r_weak = START;
    var best = Best(LOWEST, 0u);
    for (var quad = lane; quad < params.stride / 4u; quad += 2u * LANES) {
        let va = tokens(quad);
        let vb = tokens(quad + LANES);
        let keep_a = others(va, target_id);
        let keep_b = others(vb, target_id);
        let sa = select(NONE, strong_quad(row, quad), keep_a);
        let sb = select(NONE, strong_quad(row, quad + LANES), keep_b);
        let wa = select(NONE, weak_quad(row, quad), keep_a);
        let wb = select(NONE, weak_quad(row, quad + LANES), keep_b);
        r = push(r, lambda * sa + (1.0 - lambda) * wa, lambda * sb + (1.0 - lambda) * wb);
        r_strong.sums.w += sum_of(sa, keep_a, sb, keep_b);
        r_weak.sums.w += sum_of(wa, keep_a, wb, keep_b);
        if params.alone != 0u {
            r_strong = push(r_strong, sa, sb);
            r_weak = push(r_weak, wa, wb);
            best = better(better(best, va, sa), vb, sb);
        }
    }
    let most = reduce_most(vec4(r.m, r_strong.m, r_weak.m, 0.0), lane);
    offer_first(best, most.y);
    let states = mat3x4(raised(r, most.x).sums, raised(r_strong, most.y).sums, raised(r_weak, most.z).sums);
    let sums = reduce_sums(states, lane);
    if lane == 0u {
        let z_s = strong_at(row, target_id);
        let z_w = weak_at(row, turned(row, target_id));
        let z = lambda * z_s + (1.0 - lambda) * z_w;
        let all = whole(most.x, sums[0], z);
        let all_strong = whole(most.y, sums[1], z_s);
        let all_weak = whole(most.z, sums[2], z_w);
        let loss = cross_entropy(all, z, lambda * all_strong.sums.w + (1.0 - lambda) * all_weak.sums.w);
        tell(row, all, loss, z - most.x, lambda * pull(all), vec2(0.0));
        tell_strong(row, all_strong, most.y);
        tell_weak(row, entropy(all_weak), z_w, all_weak.sums.w / f32(params.vocab));
    }
}

// The teacher's logits, the target's lowered.
fn teacher(row: u32, v: vec4<u32>, z: vec4<f32>) -> vec4<f32> {
    return z - select(vec4(0.0), vec4(schedule[LOWERED]), v == vec4(targets[row]));
}

// a (p - e_y) + (1 - a) T (p^T - t^T) of a student's and a teacher's logits, given the three logsumexp.
fn distilled(row: u32, v: vec4<u32>, z: vec4<f32>, taught: vec4<f32>, lse: vec3<f32>) -> vec4<f32> {
    let temperature = schedule[TEMPERATURE];
    let hard = schedule[HARD];
    let label = select(vec4(0.0), ONE, v == vec4(targets[row]));
    let soft = exp(z / temperature - lse.y) - exp(taught / temperature - lse.z);
    return hard * (exp(z - lse.x) - label) + (1.0 - hard) * temperature * soft;
}

// Trips: 3 V / 1024 and 120.
@compute @workgroup_size(LANES)
fn stats_distill(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    if weights[row] == 0.0 {
        clear_stats(row, lane);
        return;
    }
    start_first(lane);
    let target_id = targets[row];
    let temperature = schedule[TEMPERATURE];
    var r = START;
    var r_weak = START;
    var r_student = START;
    var r_teacher = START;
    var best = Best(LOWEST, 0u);
    for (var quad = lane; quad < params.stride / 4u; quad += 2u * LANES) {
        let va = tokens(quad);
        let vb = tokens(quad + LANES);
        let keep_a = others(va, target_id);
        let keep_b = others(vb, target_id);
        let sa = select(NONE, strong_quad(row, quad), keep_a);
        let sb = select(NONE, strong_quad(row, quad + LANES), keep_b);
        let wa = select(NONE, weak_quad(row, quad), keep_a);
        let wb = select(NONE, weak_quad(row, quad + LANES), keep_b);
        r = push(r, sa, sb);
        r_weak = push(r_weak, wa, wb);
        r_student = push(r_student, sa / temperature, sb / temperature);
        r_teacher = push(r_teacher, wa / temperature, wb / temperature);
        r.sums.w += sum_of(sa, keep_a, sb, keep_b);
        r_weak.sums.w += sum_of(wa, keep_a, wb, keep_b);
        best = better(better(best, va, sa), vb, sb);
    }
    let most = reduce_most(vec4(r.m, r_weak.m, r_student.m, r_teacher.m), lane);
    offer_first(best, most.x);
    let soft = vec4(raised(r_student, most.z).sums.x, raised(r_teacher, most.w).sums.x, 0.0, 0.0);
    let sums = reduce_sums(mat3x4(raised(r, most.x).sums, raised(r_weak, most.y).sums, soft), lane);
    let z_s = strong_at(row, target_id);
    let z_w = weak_at(row, target_id);
    let all = whole(most.x, sums[0], z_s);
    let of_student = whole(most.z, vec4(sums[2].x, 0.0, 0.0, 0.0), z_s / temperature);
    let of_teacher = whole(most.w, vec4(sums[2].y, 0.0, 0.0, 0.0), (z_w - schedule[LOWERED]) / temperature);
    let lse = vec3(logsumexp(all), logsumexp(of_student), logsumexp(of_teacher));
    // x: KL(t^T || p^T), y: squared pull.
    var ends = vec4(0.0);
    for (var quad = lane; quad < params.stride / 4u; quad += LANES) {
        let v = tokens(quad);
        let inside = v < vec4(params.vocab);
        let z = select(vec4(0.0), strong_quad(row, quad), inside);
        let taught = teacher(row, v, select(vec4(0.0), weak_quad(row, quad), inside));
        let log_teacher = taught / temperature - lse.z;
        let divergence = exp(log_teacher) * (log_teacher - (z / temperature - lse.y));
        let g = select(vec4(0.0), distilled(row, v, z, taught, lse), others(v, target_id));
        ends += vec4(dot(select(vec4(0.0), divergence, inside), ONE), dot(g, g), 0.0, 0.0);
    }
    let total = reduce_sums(mat3x4(ends, vec4(0.0), vec4(0.0)), lane)[0];
    if lane == 0u {
        let hard = schedule[HARD];
        let all_weak = whole(most.y, sums[1], z_w);
        let loss = hard * (lse.x - z_s) + (1.0 - hard) * temperature * temperature * total.x;
        tell(row, all, loss, z_s - most.x, sqrt(total.y), lse.yz);
        tell_strong(row, all, most.x);
        tell_weak(row, entropy(all_weak), z_w, all_weak.sums.w / f32(params.vocab));
    }
}

const ROUND = 64u; // invocations of a workgroup that makes gradients

// w (q_v - (1 - eps) [v = y] - eps / V)
fn gradient_of(row: u32, v: vec4<u32>, z: vec4<f32>) -> vec4<f32> {
    let q = exp(z - stats[row * STATS + LOGSUMEXP]);
    let eps = schedule[SMOOTHING];
    let label = select(vec4(0.0), vec4(1.0 - eps), v == vec4(targets[row]));
    return weights[row] * schedule[LOSS_SCALE] * (q - label - eps / f32(params.vocab));
}

// Four logits an invocation; workgroups: (V / 256, n).
@compute @workgroup_size(ROUND)
fn gradient_single(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
    let quads = params.stride / 4u;
    let quad = group.x * ROUND + lane;
    if quad >= quads {
        return;
    }
    let at = row * quads + quad;
    if weights[row] == 0.0 {
        strong4[at] = vec4(0.0);
        return;
    }
    let lambda = schedule[LAMBDA];
    let z = strong4[at];
    strong4[at] = lambda * gradient_of(row, tokens(quad), lambda * z) * slope(z, params.per_cap_strong);
}

@compute @workgroup_size(ROUND)
fn gradient_mix(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
    let quads = params.stride / 4u;
    let quad = group.x * ROUND + lane;
    if quad >= quads {
        return;
    }
    let at = row * quads + quad;
    if weights[row] == 0.0 {
        strong4[at] = vec4(0.0);
        weak4[at] = vec4(0.0);
        return;
    }
    let lambda = schedule[LAMBDA];
    let z_s = strong4[at];
    let z_w = weak4[at];
    let g = gradient_of(row, tokens(quad), lambda * z_s + (1.0 - lambda) * z_w);
    strong4[at] = lambda * g * slope(z_s, params.per_cap_strong);
    weak4[at] = (1.0 - lambda) * g * slope(z_w, params.per_cap_weak);
}

// As gradient_mix, where weak logits are turned. One invocation per logit; workgroups: (V / 64, n).
@compute @workgroup_size(ROUND)
fn gradient_turned(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let v = group.x * ROUND + lane;
    let row = group.y;
    if v >= params.vocab {
        return;
    }
    let i = row * params.stride + v;
    let j = row * params.stride + turned(row, v);
    let wanted = weights[row] != 0.0;
    let lambda = schedule[LAMBDA];
    let z = vec4(strong[i], weak[j], 0.0, 0.0);
    let g = gradient_of(row, vec4(v), vec4(lambda * z.x + (1.0 - lambda) * z.y)).x;
    strong[i] = select(0.0, lambda * g * slope(z, params.per_cap_strong).x, wanted);
    weak[j] = select(0.0, (1.0 - lambda) * g * slope(z, params.per_cap_weak).y, wanted);
}

// The teacher does not learn: its logits stay.
@compute @workgroup_size(ROUND)
fn gradient_distill(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
    let quads = params.stride / 4u;
    let quad = group.x * ROUND + lane;
    if quad >= quads {
        return;
    }
    let at = row * quads + quad;
    if weights[row] == 0.0 {
        strong4[at] = vec4(0.0);
        return;
    }
    let told = row * STATS;
    let lse = vec3(stats[told + LOGSUMEXP], stats[told + LOGSUMEXP_STUDENT], stats[told + LOGSUMEXP_TEACHER]);
    let z = strong4[at];
    let v = tokens(quad);
    let g = distilled(row, v, z, teacher(row, v, weak4[at]), lse);
    strong4[at] = weights[row] * schedule[LOSS_SCALE] * g * slope(z, params.per_cap_strong);
}

// Soft-caps logits where they are all that is wanted. One invocation per logit.
@compute @workgroup_size(ROUND)
fn cap(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * ROUND + lane;
    if i < params.rows * params.stride {
        strong[i] = softcap(strong[i], params.cap);
    }
}

// Puts in place of the weak logits of a row some of the same entropy and no content: a >= 0 at the token `offsets`, 0
// elsewhere. With s = 1 + (V - 1) e^-a their entropy is ln s + a (s - 1) / s, which falls from ln V to 0 as a grows.
// One workgroup per token. Trips: 2 V / 512 + 128.
@compute @workgroup_size(LANES)
fn synthesize(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    let quads = params.stride / 4u;
    var r = START;
    for (var quad = lane; quad < quads; quad += LANES) {
        let v = tokens(quad);
        r = push(r, select(NONE, weak4[row * quads + quad], v < vec4(params.vocab)), NONE);
    }
    let most = reduce_most(vec4(r.m), lane).x;
    let sums = reduce_sums(mat3x4(raised(r, most).sums, vec4(0.0), vec4(0.0)), lane);
    let wanted = entropy(Running(most, sums[0]));
    var low = 0.0;
    var high = 100.0;
    for (var i = 0u; i < 48u; i++) {
        let a = 0.5 * (low + high);
        let rest = f32(params.vocab - 1u) * exp(-a);
        if log(1.0 + rest) + a * rest / (1.0 + rest) > wanted {
            low = a;
        } else {
            high = a;
        }
    }
    for (var quad = lane; quad < quads; quad += LANES) {
        weak4[row * quads + quad] = select(vec4(0.0), vec4(high), tokens(quad) == vec4(offsets[row]));
    }
}
