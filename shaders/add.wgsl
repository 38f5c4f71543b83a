// y = a + b, and y += a (a gradient that joins one that is there). All of n elements.

#import width/*
#import grid

struct Params {
    n: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> a: array<Numbers>;
@group(0) @binding(1) var<storage, read> b: array<Numbers>;
@group(0) @binding(2) var<storage, read_write> y: array<Numbers>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i < params.n / WIDTH {
        y[i] = a[i] + b[i];
    }
}

@compute @workgroup_size(64)
fn accumulate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i < params.n / WIDTH {
        y[i] += a[i];
    }
}
