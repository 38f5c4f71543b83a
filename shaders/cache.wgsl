// Appends to a key or value cache: cache[rows[t]] = x[t].  x: [T, C]; rows: [T]; cache: [capacity, C].

#import grid

struct Params {
    tokens: u32,
    cols: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> cache: array<f32>;

@compute @workgroup_size(64)
fn append(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i < params.tokens * params.cols {
        cache[rows[i / params.cols] * params.cols + i % params.cols] = x[i];
    }
}
