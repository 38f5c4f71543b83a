// Rotary position embedding (Su et al. 2021) in the half-split form of Hugging Face models: within a head of size D,
//   y[i]       = x[i] cos - x[i + D/2] sin
//   y[i + D/2] = x[i + D/2] cos + x[i] sin,      angle = position * inv_freq[i],  i < D/2.
// A rotation's gradient is the rotation back: the same kernel with sign = -1.
//
// x, y: [T, heads * D]; cosines, sines: [positions, D/2], tabulated by the host because a GPU's own cos and sin are
// only good to 2^-11 and only within [-pi, pi]; positions: [T].

#import grid

struct Params {
    tokens: u32,
    heads: u32,
    half: u32, // D / 2
    sign: f32,
    accumulate: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> cosines: array<f32>;
@group(0) @binding(3) var<storage, read> sines: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// One invocation per pair of elements.
@compute @workgroup_size(64)
fn rotate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i >= params.tokens * params.heads * params.half {
        return;
    }
    let head = i / params.half; // over all tokens
    let pair = i % params.half;
    let at = positions[head / params.heads] * params.half + pair;
    let c = cosines[at];
    let s = params.sign * sines[at];
    let low = head * 2u * params.half + pair;
    let high = low + params.half;
    var a = x[low] * c - x[high] * s;
    var b = x[high] * c + x[low] * s;
    if params.accumulate != 0u {
        a += y[low];
        b += y[high];
    }
    y[low] = a;
    y[high] = b;
}
