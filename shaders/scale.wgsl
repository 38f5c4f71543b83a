// y = factor x. The gradient is factor dy.

#import width/*
#import grid

struct Params {
    n: u32,
    factor: f32,
    accumulate: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<Numbers>;
@group(0) @binding(1) var<storage, read_write> y: array<Numbers>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i >= params.n / WIDTH {
        return;
    }
    var value = params.factor * x[i];
    if params.accumulate != 0u {
        value += y[i];
    }
    y[i] = value;
}
