// As lib/sum.wgsl, four sums at a time.
const LANES = 32u;
const FEW = 8u;

var<workgroup> sums_scratch: array<vec4<f32>, LANES>;

fn workgroup_sums(value: vec4<f32>, lane: u32) -> vec4<f32> {
    sums_scratch[lane] = value;
    workgroupBarrier();
    if lane < FEW {
        var total = value;
        for (var i = lane + FEW; i < LANES; i += FEW) {
            total += sums_scratch[i];
        }
        sums_scratch[lane] = total;
    }
    workgroupBarrier();
    var total = sums_scratch[0];
    for (var i = 1u; i < FEW; i++) {
        total += sums_scratch[i];
    }
    return total;
}
