// Adds sums in f32 to gradients in bfloat16.

#import grid
#import rounded

struct Params {
    n: u32, // fours
    first: u32, // fours of the gradient before them
    salt: u32, // of this sum
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> sums4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> gradient: array<vec2<u32>>;

@compute @workgroup_size(64)
fn add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i >= params.n {
        return;
    }
    let to = params.first + i;
    gradient[to] = rounded(dequantized_bf16(gradient[to]) + sums4[i], to, params.salt);
}
