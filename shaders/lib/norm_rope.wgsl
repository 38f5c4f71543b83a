// RMSNorm of a head and its rotation in one: y = rope(x * r * w), as rms_norm.wgsl and rope.wgsl have them. Gradients, with
// n = x * r, d = dy turned back and g = d * w:
//   dx = r * (g - n * mean(g * n)),   dw = sum over heads of d * n.
//
// x, y, dy, dx: [T, heads * D]; weight: [D]; positions: [T]; cosines, sines: [positions, R / 2]. r is found again in
// backward, which reads x anyway.
//
// Eight neighbours take four heads of a token, so that they read the weight and the angles once for them. Where there are
// fewer, the last head stands in for those that are missing, as rows do in lib/rms_norm.wgsl.

#import rotary

struct Params {
    heads: u32,
    head_dim: u32, // D, even
    half: u32, // R / 2
    eps: f32,
    offset: f32, // of the weight
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<Numbers>;
@group(0) @binding(1) var<storage, read> weight: array<Numbers>;
@group(0) @binding(5) var<storage, read_write> y: array<Numbers>;

const HEADS = 4u; // of an invocation
const PARTS = 4u; // of a workgroup, of HEADS heads each

// A part of the heads of a token.
struct Part {
    index: u32, // among all parts
    at: vec4<u32>, // where its heads begin
    pairs: u32, // of a head; none for a part without heads
    there: vec4<bool>, // which heads are not stand-ins
}

fn part(group: vec3<u32>, y: u32) -> Part {
    let index = group.x * PARTS + y;
    let parts = (params.heads + HEADS - 1u) / HEADS;
    let heads = index * HEADS + vec4(0u, 1u, 2u, 3u);
    let width = params.head_dim / WIDTH;
    let at = (group.y * params.heads + min(heads, vec4(params.heads - 1u))) * width;
    let pairs = select(0u, width / 2u, index < parts);
    return Part(group.y * parts + index, at, pairs, heads < vec4(params.heads));
}

// Of the two channels that turn together.
struct Pair {
    a: Numbers,
    b: Numbers,
}

fn weights(c: vec2<u32>) -> Pair {
    return Pair(weight[c.x] + params.offset, weight[c.y] + params.offset);
}

fn reciprocals(squares: vec4<f32>) -> vec4<f32> {
    return inverseSqrt(squares / f32(params.head_dim) + params.eps);
}

var<workgroup> squares_scratch: array<vec4<f32>, 32>;

// One workgroup per (HEADS PARTS heads, token). Trips: 3 head_dim / (16 WIDTH), and those of the sums.
@compute @workgroup_size(NEIGHBOURS, PARTS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let own = part(group, lane.y);
    var squares: vec4<f32>;
    for (var i = lane.x; i < 2u * own.pairs; i += NEIGHBOURS) {
        for (var j = 0u; j < HEADS; j++) {
            let v = x[own.at[j] + i];
            squares[j] += total(v * v);
        }
    }
    let first = lane.y * NEIGHBOURS;
    squares_scratch[first + lane.x] = squares;
    workgroupBarrier();
    var sum = squares_scratch[first];
    for (var i = 1u; i < NEIGHBOURS; i++) {
        sum += squares_scratch[first + i];
    }
    let r = reciprocals(sum);
    for (var pair = lane.x; pair < own.pairs; pair += NEIGHBOURS) {
        let c = channels(pair);
        let w = weights(c);
        let turn = angle(group.y, pair);
        for (var j = 0u; j < HEADS; j++) {
            let i = own.at[j] + c;
            let a = x[i.x] * r[j] * w.a;
            let b = x[i.y] * r[j] * w.b;
            y[i.x] = a * turn.cosine - b * turn.sine;
            y[i.y] = b * turn.cosine + a * turn.sine;
        }
    }
}

@group(0) @binding(5) var<storage, read> dy: array<Numbers>;
@group(0) @binding(6) var<storage, read_write> dx: array<Numbers>;

// dy of a pair, turned back.
fn unturned(c: vec2<u32>, turn: Angle) -> Pair {
    let a = dy[c.x];
    let b = dy[c.y];
    return Pair(a * turn.cosine + b * turn.sine, b * turn.cosine - a * turn.sine);
}

var<workgroup> scratch: array<mat2x4<f32>, 32>;

// r and mean(g * n) of the heads; both are 0 for stand-ins, whose dx is written before that of whom they stand in for.
fn scales(own: Part, token: u32, lane: vec3<u32>) -> mat2x4<f32> {
    var squares: vec4<f32>;
    var dots: vec4<f32>;
    for (var pair = lane.x; pair < own.pairs; pair += NEIGHBOURS) {
        let c = channels(pair);
        let w = weights(c);
        let turn = angle(token, pair);
        for (var j = 0u; j < HEADS; j++) {
            let i = own.at[j] + c;
            let d = unturned(i, turn);
            let v = Pair(x[i.x], x[i.y]);
            squares[j] += total(v.a * v.a + v.b * v.b);
            dots[j] += total(d.a * w.a * v.a + d.b * w.b * v.b);
        }
    }
    let first = lane.y * NEIGHBOURS;
    scratch[first + lane.x] = mat2x4(squares, dots);
    workgroupBarrier();
    var sum = scratch[first];
    for (var i = 1u; i < NEIGHBOURS; i++) {
        sum += scratch[first + i];
    }
    let r = select(vec4(0.0), reciprocals(sum[0]), own.there);
    return mat2x4(r, sum[1] * r / f32(params.head_dim));
}

// One workgroup per (HEADS PARTS heads, token). Trips: as forward.
@compute @workgroup_size(NEIGHBOURS, PARTS)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let own = part(group, lane.y);
    let found = scales(own, group.y, lane);
    let r = found[0];
    let mean = found[1];
    for (var pair = lane.x; pair < own.pairs; pair += NEIGHBOURS) {
        let c = channels(pair);
        let w = weights(c);
        let turn = angle(group.y, pair);
        for (var k = HEADS; k > 0u; k--) {
            let j = k - 1u;
            let i = own.at[j] + c;
            let d = unturned(i, turn);
            let n = Pair(x[i.x] * r[j], x[i.y] * r[j]);
            dx[i.x] = r[j] * (d.a * w.a - n.a * mean[j]);
            dx[i.y] = r[j] * (d.b * w.b - n.b * mean[j]);
        }
    }
}

// partial[p, c] = sum over the heads of part p of d * n; summed over parts by column_sum. [T * ceil(heads / HEADS), D]
@group(0) @binding(7) var<storage, read_write> partial: array<Numbers>;

// As backward.
@compute @workgroup_size(NEIGHBOURS, PARTS)
fn backward_both(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let own = part(group, lane.y);
    let found = scales(own, group.y, lane);
    let r = found[0];
    let mean = found[1];
    for (var pair = lane.x; pair < own.pairs; pair += NEIGHBOURS) {
        let c = channels(pair);
        let w = weights(c);
        let turn = angle(group.y, pair);
        var dw = Pair(Numbers(), Numbers());
        for (var k = HEADS; k > 0u; k--) {
            let j = k - 1u;
            let i = own.at[j] + c;
            let d = unturned(i, turn);
            let n = Pair(x[i.x] * r[j], x[i.y] * r[j]);
            dw = Pair(dw.a + d.a * n.a, dw.b + d.b * n.b);
            dx[i.x] = r[j] * (d.a * w.a - n.a * mean[j]);
            dx[i.y] = r[j] * (d.b * w.b - n.b * mean[j]);
        }
        let to = own.index * (params.head_dim / WIDTH) + c;
        partial[to.x] = dw.a;
        partial[to.y] = dw.b;
    }
}
