// Sums one value of each of a workgroup's 32 invocations, in a fixed order; every invocation gets the result.
// Call from uniform control flow, and once: the scratch memory is not freed. One barrier, because software drivers pay
// for each.
const LANES = 32u;

var<workgroup> sum_scratch: array<f32, LANES>;

fn workgroup_sum(value: f32, lane: u32) -> f32 {
    sum_scratch[lane] = value;
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < LANES; i++) {
        total += sum_scratch[i];
    }
    return total;
}
