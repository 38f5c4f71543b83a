// What a device can do at best, measured by nothing else: multiply-adds in registers, and copying memory.

#import grid
#import ceiling_params

const ROUNDS = 16u; // of multiply-adds in a trip
const CHAINS = 12u; // of multiply-adds none of which waits for another

// Multiply-adds in registers: three vec4 of chains and two factors, as many as 16 registers of a CPU hold. The factors come
// from memory, so that nothing can be computed before; |x| < 1 keeps the sums finite. One result an invocation.
@compute @workgroup_size(64)
fn multiply_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let factor = x4[0].x;
    let term = x4[0].y;
    var a = x4[1] + f32(lane);
    var b = x4[2];
    var c = x4[3];
    for (var k = 0u; k < params.n; k++) {
        for (var round = 0u; round < ROUNDS; round++) {
            a = fma(a, vec4(factor), vec4(term));
            b = fma(b, vec4(factor), vec4(term));
            c = fma(c, vec4(factor), vec4(term));
        }
    }
    y4[group_index(group, groups) * 64u + lane] = a + b + c;
}

// y = x, four numbers an invocation.
@compute @workgroup_size(64)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i < params.n {
        y4[i] = x4[i];
    }
}

// The least a dispatch can do: one invocation adds to one number, so that the next dispatch must wait for this one.
@compute @workgroup_size(1)
fn touch() {
    y4[0] += f32(params.n);
}
