// Rotary position embedding (Su et al. 2021) in the half-split form of Hugging Face models: of a head of size D the first
// R channels turn in pairs,
//   y[i]       = x[i] cos - x[i + R/2] sin
//   y[i + R/2] = x[i + R/2] cos + x[i] sin,      angle = position * inv_freq[i],  i < R/2,
// and the others stay. A rotation's gradient is the rotation back: the same kernel with sign = -1.
//
// x, y: [T, heads * D]; cosines, sines: [positions, R/2]; positions: [T].

#import rotary

struct Params {
    heads: u32,
    head_dim: u32, // D, even
    half: u32, // R / 2
    sign: f32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<Numbers>;
@group(0) @binding(5) var<storage, read_write> y: array<Numbers>;

const HEADS = 4u; // of a workgroup

// One workgroup per (HEADS heads, token). Trips: head_dim / 8.
@compute @workgroup_size(NEIGHBOURS, HEADS)
fn rotate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let head = group.x * HEADS + lane.y;
    let base = (group.y * params.heads + head) * (params.head_dim / WIDTH);
    let there = head < params.heads;
    let half = params.half / WIDTH;
    let turning = select(0u, half, there);
    for (var pair = lane.x; pair < turning; pair += NEIGHBOURS) {
        let turn = angle(group.y, pair);
        let sine = params.sign * turn.sine;
        let a = x[base + pair];
        let b = x[base + pair + half];
        y[base + pair] = a * turn.cosine - b * sine;
        y[base + pair + half] = b * turn.cosine + a * sine;
    }
    let all = select(0u, params.head_dim / WIDTH, there);
    for (var c = 2u * half + lane.x; c < all; c += NEIGHBOURS) {
        y[base + c] = x[base + c];
    }
}
