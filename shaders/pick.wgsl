// Chosen rows: y[i] = x[rows[i]], or zeros where rows[i] is no row of x. The gradient is the same with the inverse choice.
//
// x: [count, cols]; rows: [n]; y: [n, cols].

#import grid

struct Params {
    n: u32,
    cols: u32,
    count: u32,
    accumulate: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// One invocation per element of y.
@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i >= params.n * params.cols {
        return;
    }
    let row = rows[i / params.cols];
    var value = 0.0;
    if row < params.count {
        value = x[row * params.cols + i % params.cols];
    }
    if params.accumulate != 0u {
        value += y[i];
    }
    y[i] = value;
}
