// Rotary position embedding (Su et al. 2021) in the half-split form of Hugging Face models: of a head of size D the first
// R channels turn in pairs,
//   y[i]       = x[i] cos - x[i + R/2] sin
//   y[i + R/2] = x[i + R/2] cos + x[i] sin,      angle = position * inv_freq[i],  i < R/2,
// and the others stay. A rotation's gradient is the rotation back: the same kernel with sign = -1.
//
// x, y: [T, heads * D]; cosines, sines: [positions, R/2]; positions: [T].

#import width/*
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

// One workgroup per (HEADS PARTS heads, token). Trips: (1 + HEADS) head_dim / (8 WIDTH).
@compute @workgroup_size(NEIGHBOURS, PARTS)
fn rotate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let own = part(group, lane.y);
    for (var pair = lane.x; pair < own.turning; pair += NEIGHBOURS) {
        let turn = angle(group.y, pair);
        let sine = params.sign * turn.sine;
        for (var j = 0u; j < HEADS; j++) {
            let i = head(own, j) + pair;
            let k = other(i);
            let a = x[i];
            let b = x[k];
            y[i] = a * turn.cosine - b * sine;
            y[k] = b * turn.cosine + a * sine;
        }
    }
    for (var c = other(other(lane.x)); c < own.all; c += NEIGHBOURS) {
        for (var j = 0u; j < HEADS; j++) {
            y[head(own, j) + c] = x[head(own, j) + c];
        }
    }
}
