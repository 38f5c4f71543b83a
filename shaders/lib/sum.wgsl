// Sums one value of each of a workgroup's 64 invocations, in a fixed order; every invocation gets the result.
// Call from uniform control flow. May be called again at once: the last barrier frees the scratch memory.
var<workgroup> sum_scratch: array<f32, 64>;

fn workgroup_sum(value: f32, lane: u32) -> f32 {
    sum_scratch[lane] = value;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if lane < half {
            sum_scratch[lane] += sum_scratch[lane + half];
        }
        workgroupBarrier();
    }
    let total = sum_scratch[0];
    workgroupBarrier();
    return total;
}
