// y[t] = scale table[tokens[t]], of a frozen table whose numbers are packed; see embedding.wgsl. C is a multiple of 4.

#import grid
#import packed/*

struct Params {
    tokens: u32, // T
    cols: u32, // C
    first: u32,
    count: u32,
    scale: f32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> y4: array<vec4<f32>>;

// One invocation per four elements of y.
@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups_run: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups_run) * 64u + lane;
    let quads = params.cols / 4u;
    if i >= params.tokens * quads {
        return;
    }
    let row = tokens[i / quads] - params.first;
    if row < params.count {
        y4[i] = params.scale * dequantized(row * quads + i % quads, params.count * (params.cols / 64u) * 2u * BITS);
    }
}
