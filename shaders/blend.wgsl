// y = x + f w with f = share (1 - lambda) / lambda, so that lambda y W is what lambda x W + (1 - lambda) share w W is: logits
// of two models that share a head W are mixed before it. dx = dy, dw = f dy.

#import grid
#import loss_scalars

struct Params {
    n: u32,
    share: f32,
    accumulate: u32, // backward
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> scalars: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read_write> dw: array<f32>;

fn factor() -> f32 {
    return params.share * (1.0 - scalars[LAMBDA]) / scalars[LAMBDA];
}

// One invocation per element.
@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i < params.n {
        y[i] = x[i] + factor() * w[i];
    }
}

// One invocation per element.
@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i < params.n {
        dw[i] = select(0.0, dw[i], params.accumulate != 0u) + factor() * dy[i];
    }
}
