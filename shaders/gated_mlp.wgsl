// The gate of a feed-forward (SwiGLU or GEGLU, Shazeer 2020): y = act(gate) * up,  act(g) = g s,  s = 1 / (1 + e^-v).
// SiLU has v = g; GELU's tanh form g / 2 (1 + tanh u) has v = 2u = 2 sqrt(2 / pi) (g + 0.044715 g^3), for
// (1 + tanh u) / 2 = 1 / (1 + e^-2u), which neither overflows nor cancels.
// Gradients: dup = dy g s,   dgate = dy up s (1 + g (1 - s) v').
//
// All of n = T * F elements.

#import width/*
#import grid

struct Params {
    n: u32,
    accumulate_gate: u32,
    accumulate_up: u32,
    activation: u32, // 0: SiLU, 1: GELU, 2: none, whose s is 1
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> gate: array<Numbers>;
@group(0) @binding(1) var<storage, read> up: array<Numbers>;
@group(0) @binding(2) var<storage, read_write> y: array<Numbers>;

const TWICE_ROOT = 1.5957691; // 2 sqrt(2 / pi)
const CUBIC = 0.044715;

// What of the gate passes, s.
fn share(g: Numbers) -> Numbers {
    let v = select(g, TWICE_ROOT * (g + CUBIC * g * g * g), params.activation == 1u);
    return select(1.0 / (1.0 + exp(-v)), Numbers(1.0), params.activation == 2u);
}

// v'
fn steepness(g: Numbers) -> Numbers {
    return select(Numbers(1.0), TWICE_ROOT * (1.0 + 3.0 * CUBIC * g * g), params.activation == 1u);
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i < params.n / WIDTH {
        let g = gate[i];
        y[i] = g * share(g) * up[i];
    }
}

@group(0) @binding(3) var<storage, read> dy: array<Numbers>;
@group(0) @binding(4) var<storage, read_write> dgate: array<Numbers>;
@group(0) @binding(5) var<storage, read_write> dup: array<Numbers>;

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i >= params.n / WIDTH {
        return;
    }
    let g = gate[i];
    let s = share(g);
    let d = dy[i];
    var d_gate = d * up[i] * s * (1.0 + g * (1.0 - s) * steepness(g));
    var d_up = d * g * s;
    if params.accumulate_gate != 0u {
        d_gate += dgate[i];
    }
    if params.accumulate_up != 0u {
        d_up += dup[i];
    }
    dgate[i] = d_gate;
    dup[i] = d_up;
}
