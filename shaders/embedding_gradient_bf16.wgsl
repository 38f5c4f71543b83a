// As `backward` of embedding.wgsl, for a gradient in bfloat16. C is a multiple of 4.

#import rounded

struct Params {
    tokens: u32, // T
    cols: u32, // C
    first: u32,
    count: u32,
    scale: f32,
    salt: u32, // of this sum
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read> dy4: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dtable: array<vec2<u32>>;

// One workgroup per (sorted position, 64 fours of columns); those that do not start a run of equal tokens return.
// Trips of an invocation: at most T.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x;
    let quads = params.cols / 4u;
    let quad = group.y * 64u + lane;
    let token = tokens[order[at]];
    let row = token - params.first;
    if quad >= quads || row >= params.count {
        return;
    }
    if at > 0u {
        if tokens[order[at - 1u]] == token {
            return;
        }
    }
    var sum = vec4(0.0);
    for (var i = at; i < params.tokens; i++) {
        let t = order[i];
        if tokens[t] != token {
            break;
        }
        sum += dy4[t * quads + quad];
    }
    let to = row * quads + quad;
    dtable[to] = rounded(dequantized_bf16(dtable[to]) + params.scale * sum, to, params.salt);
}
