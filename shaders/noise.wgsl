// Uniform noise on rows (NEFTune, Jain et al. 2023): y[t,c] = x[t,c] + amplitudes[t] (2 u - 1),
// u = (pcg(keys[t] + c) >> 8) / 2^24. The gradient is that of y.
//
// x, y: [T, C]; keys, amplitudes: [T]. Rows of amplitude 0 stay as they are.

#import grid
#import pcg

struct Params {
    tokens: u32, // T
    cols: u32, // C
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read> amplitudes: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// One invocation per element.
@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i >= params.tokens * params.cols {
        return;
    }
    let t = i / params.cols;
    let u = f32(pcg(keys[t] + i % params.cols) >> 8u) * (1.0 / 16777216.0);
    y[i] = x[i] + amplitudes[t] * (2.0 * u - 1.0);
}
