// Sums of squares of gradients, which `gradient(i)` reads four at a time.

#import adamw
#import sum

@group(0) @binding(1) var<storage, read_write> partials: array<f32>;

const BLOCK = 64u; // fours that one invocation squares; a workgroup sums LANES * BLOCK

// Four gradients, zeros beyond the last.
fn four(i: u32) -> vec4<f32> {
    return select(vec4(0.0), gradient(min(i, params.n - 1u)), i < params.n);
}

// partials[first + group] = sum of squares of 8,192 gradients.
@compute @workgroup_size(LANES)
fn square_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = group_index(group, groups);
    var sum = vec4(0.0);
    // Several loads in flight at a time, and no branch between them.
    for (var k = 0u; k < BLOCK; k += 4u) {
        let i = (block * BLOCK + k) * LANES + lane;
        let a = four(i);
        let b = four(i + LANES);
        let c = four(i + 2u * LANES);
        let d = four(i + 3u * LANES);
        sum += (a * a + b * b) + (c * c + d * d);
    }
    let total = workgroup_sum((sum.x + sum.y) + (sum.z + sum.w), lane);
    if lane == 0u && block * BLOCK * LANES < params.n {
        partials[params.first + block] = total;
    }
}
