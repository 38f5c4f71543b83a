// The gate of a SwiGLU feed-forward (Shazeer 2020): y = silu(gate) * up,  silu(g) = g s,  s = 1 / (1 + e^-g).
// Gradients: dup = dy g s,   dgate = dy up s (1 + g (1 - s)).
//
// All of n = T * F elements.

#import grid

struct Params {
    n: u32,
    accumulate_gate: u32,
    accumulate_up: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn sigmoid(g: f32) -> f32 {
    return 1.0 / (1.0 + exp(-g));
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i < params.n {
        y[i] = gate[i] * sigmoid(gate[i]) * up[i];
    }
}

@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dgate: array<f32>;
@group(0) @binding(5) var<storage, read_write> dup: array<f32>;

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i >= params.n {
        return;
    }
    let g = gate[i];
    let s = sigmoid(g);
    var d_gate = dy[i] * up[i] * s * (1.0 + g * (1.0 - s));
    var d_up = dy[i] * g * s;
    if params.accumulate_gate != 0u {
        d_gate += dgate[i];
    }
    if params.accumulate_up != 0u {
        d_up += dup[i];
    }
    dgate[i] = d_gate;
    dup[i] = d_up;
}
