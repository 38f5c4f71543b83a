enable wgpu_cooperative_matrix;

// Products of cooperative matrices at their best, one after the other.
// A workgroup is one subgroup: what is counted does not depend on which sizes of it a device chooses.

#instance 8_f16: enable f16; const SIDE = 8u; alias Factor = f16; alias Left = coop_mat8x8<f16, A>; alias Right = coop_mat8x8<f16, B>; alias Sum = coop_mat8x8<f32, C>;
#instance 8_f32: const SIDE = 8u; alias Factor = f32; alias Left = coop_mat8x8<f32, A>; alias Right = coop_mat8x8<f32, B>; alias Sum = coop_mat8x8<f32, C>;
#instance 16_f16: enable f16; const SIDE = 16u; alias Factor = f16; alias Left = coop_mat16x16<f16, A>; alias Right = coop_mat16x16<f16, B>; alias Sum = coop_mat16x16<f32, C>;

#import grid

struct Params {
    n: u32, // trips of the outer loop
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x4: array<vec4<f32>>;

override SUBGROUP: u32 = 32u;

const ROUNDS = 8u; // of products in a trip
const CHAINS = 8u; // of products none of which waits for another

var<workgroup> factors: array<Factor, SIDE * SIDE>;

// The squares of a result are added up and written, SIDE * SIDE numbers a workgroup.
@compute @workgroup_size(SUBGROUP)
fn multiply_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    for (var i = lane; i < SIDE * SIDE; i += SUBGROUP) {
        factors[i] = Factor(x4[i % 4u].x / f32(SIDE));
    }
    workgroupBarrier();
    let a = coopLoadT<Left>(&factors[0], SIDE);
    let b = coopLoadT<Right>(&factors[0], SIDE);
    var sums: array<Sum, 8>;
    for (var i = 0u; i < CHAINS; i++) {
        sums[i] = Sum();
    }
    for (var k = 0u; k < params.n; k++) {
        for (var round = 0u; round < ROUNDS; round++) {
            for (var i = 0u; i < CHAINS; i++) {
                sums[i] = coopMultiplyAdd(a, b, sums[i]);
            }
        }
    }
    var sum = sums[0];
    for (var i = 1u; i < CHAINS; i++) {
        sum = sum + sums[i];
    }
    let to = group_index(group, groups) * SIDE * SIDE;
    coopStoreT(sum, &y[to], SIDE);
}
