// Numbers of bf16, two to a word, as f32: the first in the lower half. A bf16 is the upper half of an f32.

#import grid

struct Params {
    n: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> words: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

// One invocation per word.
@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if 2u * i >= params.n {
        return;
    }
    y[2u * i] = bitcast<f32>(words[i] << 16u);
    if 2u * i + 1u < params.n {
        y[2u * i + 1u] = bitcast<f32>(words[i] & 0xffff0000u);
    }
}
