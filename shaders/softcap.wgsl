// Soft-caps logits in place: z = cap tanh(z / cap) (Gemma 2). One invocation per logit.

#import grid
#import softcap

struct Params {
    n: u32,
    cap: f32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;

const LANES = 64u;

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * LANES + lane;
    if i < params.n {
        logits[i] = softcap(logits[i], params.cap);
    }
}
