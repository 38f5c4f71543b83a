// Running state of a set of logits (Milakov & Gimelshein 2018, extended), and its end over a workgroup.
const LANES = 128u;
const LOWEST = -1e30;
const NONE = vec4(LOWEST);
const ONE = vec4(1.0);

// Of a set of logits: m, and (s, t, sum of e^(2 (z-m)), sum of z).
struct Running {
    m: f32,
    sums: vec4<f32>,
}

const START = Running(LOWEST, vec4(0.0));

// The same sums about a larger maximum.
fn raised(r: Running, m: f32) -> Running {
    let d = r.m - m;
    let e = exp(d);
    return Running(m, vec4(r.sums.x * e, (r.sums.y + d * r.sums.x) * e, r.sums.z * e * e, r.sums.w));
}

fn largest(a: vec4<f32>) -> f32 {
    return max(max(a.x, a.y), max(a.z, a.w));
}

// Takes in eight logits, one of which may be LOWEST: no logit.
fn push(r: Running, a: vec4<f32>, b: vec4<f32>) -> Running {
    let before = raised(r, max(r.m, largest(max(a, b))));
    let da = a - before.m;
    let db = b - before.m;
    let ea = exp(da);
    let eb = exp(db);
    let sums = vec4(dot(ea + eb, ONE), dot(ea, da) + dot(eb, db), dot(ea, ea) + dot(eb, eb), 0.0);
    return Running(before.m, before.sums + sums);
}

// With the target's logit, which is not among the sum of squares.
fn whole(m: f32, sums: vec4<f32>, z: f32) -> Running {
    let others = raised(Running(m, sums), max(m, z));
    let d = z - others.m;
    let e = exp(d);
    return Running(others.m, others.sums + vec4(e, e * d, 0.0, z));
}

const FEW = 16u;

var<workgroup> most_scratch: array<vec4<f32>, LANES>;
var<workgroup> sum_scratch: array<mat3x4<f32>, LANES>;

// The largest of each of the workgroup's numbers. Call from uniform control flow, and once.
fn reduce_most(value: vec4<f32>, lane: u32) -> vec4<f32> {
    most_scratch[lane] = value;
    workgroupBarrier();
    if lane < FEW {
        var most = value;
        for (var i = lane + FEW; i < LANES; i += FEW) {
            most = max(most, most_scratch[i]);
        }
        most_scratch[lane] = most;
    }
    workgroupBarrier();
    var most = most_scratch[0];
    for (var i = 1u; i < FEW; i++) {
        most = max(most, most_scratch[i]);
    }
    return most;
}

// Sums over the workgroup, in a fixed order. Call from uniform control flow.
fn reduce_sums(value: mat3x4<f32>, lane: u32) -> mat3x4<f32> {
    workgroupBarrier();
    sum_scratch[lane] = value;
    workgroupBarrier();
    if lane < FEW {
        var sum = value;
        for (var i = lane + FEW; i < LANES; i += FEW) {
            sum += sum_scratch[i];
        }
        sum_scratch[lane] = sum;
    }
    workgroupBarrier();
    var sum = sum_scratch[0];
    for (var i = 1u; i < FEW; i++) {
        sum += sum_scratch[i];
    }
    return sum;
}

fn logsumexp(r: Running) -> f32 {
    return r.m + log(r.sums.x);
}

fn entropy(r: Running) -> f32 {
    return log(r.sums.x) - r.sums.y / r.sums.x;
}

// Norm over all but the target of softmax.
fn norm_of_others(r: Running) -> f32 {
    return sqrt(r.sums.z) / r.sums.x;
}

struct Best {
    z: f32,
    v: u32,
}

// The larger; of equals the first.
fn better(best: Best, v: vec4<u32>, z: vec4<f32>) -> Best {
    let most = largest(z);
    if most <= best.z {
        return best;
    }
    return Best(most, select(select(select(v.w, v.z, z.z == most), v.y, z.y == most), v.x, z.x == most));
}
