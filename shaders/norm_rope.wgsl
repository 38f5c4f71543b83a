// RMSNorm of a head and its rotation in one: y = rope(x * r * w), as rms_norm.wgsl and rope.wgsl have them. Gradients, with
// n = x * r, d = dy turned back and g = d * w:
//   dx = r * (g - n * mean(g * n)),   dw = sum over heads of d * n.
//
// x, y, dy, dx: [T, heads * D]; weight: [D]; positions: [T]; cosines, sines: [positions, R / 2]. r is found again in
// backward, which reads x anyway.

#import width/*
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

// Of a pair of channels.
struct Pair {
    a: Numbers,
    b: Numbers,
}

fn weights(pair: u32) -> Pair {
    return Pair(weight[pair] + params.offset, weight[other(pair)] + params.offset);
}

fn reciprocals(squares: vec4<f32>) -> vec4<f32> {
    return inverseSqrt(squares / f32(params.head_dim) + params.eps);
}

var<workgroup> squares_scratch: array<vec4<f32>, 32>;

// One workgroup per (HEADS PARTS heads, token). Trips: 5 head_dim / (8 WIDTH), and those of the sums.
@compute @workgroup_size(NEIGHBOURS, PARTS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let own = part(group, lane.y);
    var squares: vec4<f32>;
    for (var j = 0u; j < HEADS; j++) {
        var parts: Numbers;
        for (var c = lane.x; c < own.all; c += NEIGHBOURS) {
            let v = x[head(own, j) + c];
            parts += v * v;
        }
        squares[j] = total(parts);
    }
    let first = lane.y * NEIGHBOURS;
    squares_scratch[first + lane.x] = squares;
    workgroupBarrier();
    var sum = squares_scratch[first];
    for (var i = 1u; i < NEIGHBOURS; i++) {
        sum += squares_scratch[first + i];
    }
    let r = reciprocals(sum);
    for (var pair = lane.x; pair < own.turning; pair += NEIGHBOURS) {
        let w = weights(pair);
        let turn = angle(group.y, pair);
        for (var j = 0u; j < HEADS; j++) {
            let i = head(own, j) + pair;
            let k = other(i);
            let a = x[i] * r[j] * w.a;
            let b = x[k] * r[j] * w.b;
            y[i] = a * turn.cosine - b * turn.sine;
            y[k] = b * turn.cosine + a * turn.sine;
        }
    }
    for (var c = other(other(lane.x)); c < own.all; c += NEIGHBOURS) {
        let w = weight[c] + params.offset;
        for (var j = 0u; j < HEADS; j++) {
            y[head(own, j) + c] = x[head(own, j) + c] * r[j] * w;
        }
    }
}

@group(0) @binding(5) var<storage, read> dy: array<Numbers>;
@group(0) @binding(6) var<storage, read_write> dx: array<Numbers>;

// dy of the pair that begins at `i`, turned back.
fn unturned(i: u32, turn: Angle) -> Pair {
    let a = dy[i];
    let b = dy[other(i)];
    return Pair(a * turn.cosine + b * turn.sine, b * turn.cosine - a * turn.sine);
}

var<workgroup> scratch: array<mat2x4<f32>, 32>;

// r and mean(g * n) of the heads; both are 0 for stand-ins, whose dx is written before that of whom they stand in for.
fn scales(own: Part, token: u32, lane: vec3<u32>) -> mat2x4<f32> {
    var squares: vec4<f32>;
    var dots: vec4<f32>;
    for (var pair = lane.x; pair < own.turning; pair += NEIGHBOURS) {
        let w = weights(pair);
        let turn = angle(token, pair);
        for (var j = 0u; j < HEADS; j++) {
            let i = head(own, j) + pair;
            let d = unturned(i, turn);
            let v = Pair(x[i], x[other(i)]);
            squares[j] += total(v.a * v.a + v.b * v.b);
            dots[j] += total(d.a * w.a * v.a + d.b * w.b * v.b);
        }
    }
    for (var c = other(other(lane.x)); c < own.all; c += NEIGHBOURS) {
        let w = weight[c] + params.offset;
        for (var j = 0u; j < HEADS; j++) {
            let v = x[head(own, j) + c];
            squares[j] += total(v * v);
            dots[j] += total(dy[head(own, j) + c] * w * v);
        }
    }
    let first = lane.y * NEIGHBOURS;
    scratch[first + lane.x] = mat2x4(squares, dots);
    workgroupBarrier();
    var sum = scratch[first];
    for (var i = 1u; i < NEIGHBOURS; i++) {
        sum += scratch[first + i];
    }
    let r = select(vec4(0.0), reciprocals(sum[0]), vec4(0u, 1u, 2u, 3u) <= vec4(own.last));
    return mat2x4(r, sum[1] * r / f32(params.head_dim));
}

// One workgroup per (HEADS PARTS heads, token). Trips: as forward.
@compute @workgroup_size(NEIGHBOURS, PARTS)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let own = part(group, lane.y);
    let found = scales(own, group.y, lane);
    let r = found[0];
    let mean = found[1];
    for (var pair = lane.x; pair < own.turning; pair += NEIGHBOURS) {
        let w = weights(pair);
        let turn = angle(group.y, pair);
        for (var left = HEADS; left > 0u; left--) {
            let j = left - 1u;
            let i = head(own, j) + pair;
            let k = other(i);
            let d = unturned(i, turn);
            let n = Pair(x[i] * r[j], x[k] * r[j]);
            dx[i] = r[j] * (d.a * w.a - n.a * mean[j]);
            dx[k] = r[j] * (d.b * w.b - n.b * mean[j]);
        }
    }
    for (var c = other(other(lane.x)); c < own.all; c += NEIGHBOURS) {
        let w = weight[c] + params.offset;
        for (var left = HEADS; left > 0u; left--) {
            let j = left - 1u;
            let i = head(own, j) + c;
            let d = dy[i];
            let n = x[i] * r[j];
            dx[i] = r[j] * (d * w - n * mean[j]);
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
    for (var pair = lane.x; pair < own.turning; pair += NEIGHBOURS) {
        let w = weights(pair);
        let turn = angle(group.y, pair);
        var dw = Pair(Numbers(), Numbers());
        for (var left = HEADS; left > 0u; left--) {
            let j = left - 1u;
            let i = head(own, j) + pair;
            let k = other(i);
            let d = unturned(i, turn);
            let n = Pair(x[i] * r[j], x[k] * r[j]);
            dw = Pair(dw.a + d.a * n.a, dw.b + d.b * n.b);
            dx[i] = r[j] * (d.a * w.a - n.a * mean[j]);
            dx[k] = r[j] * (d.b * w.b - n.b * mean[j]);
        }
        partial[own.index * (params.head_dim / WIDTH) + pair] = dw.a;
        partial[own.index * (params.head_dim / WIDTH) + other(pair)] = dw.b;
    }
    for (var c = other(other(lane.x)); c < own.all; c += NEIGHBOURS) {
        let w = weight[c] + params.offset;
        var dw = Numbers();
        for (var left = HEADS; left > 0u; left--) {
            let j = left - 1u;
            let i = head(own, j) + c;
            let d = dy[i];
            let n = x[i] * r[j];
            dw += d * n;
            dx[i] = r[j] * (d * w - n * mean[j]);
        }
        partial[own.index * (params.head_dim / WIDTH) + c] = dw;
    }
}
