// Dropout (Srivastava et al. 2014): y[t,c] (+)= f x[t,c], f = 1 / (1 - p) where a hash of the token's key, the module's
// salt and the column is kept, else 0. The gradient of x is the same of the gradient of y: the mask is made again.
//
// x, y: [T, C]; keys: [T].

#import grid
#import pcg

struct Params {
    tokens: u32, // T
    cols: u32, // C
    salt: u32, // tells one module from another
    dropped: u32, // p 2^24: hashes below it are dropped
    scale: f32, // 1 / (1 - p)
    complement: u32, // 1: 1 - f instead of f
    accumulate: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// One invocation per element.
@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i >= params.tokens * params.cols {
        return;
    }
    let key = pcg(keys[i / params.cols] ^ params.salt);
    let kept = (pcg(key + i % params.cols) >> 8u) >= params.dropped;
    var factor = select(0.0, params.scale, kept);
    if params.complement != 0u {
        factor = 1.0 - factor;
    }
    var value = factor * x[i];
    if params.accumulate != 0u {
        value += y[i];
    }
    y[i] = value;
}
