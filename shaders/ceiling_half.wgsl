enable f16;

// As multiply_add in ceiling.wgsl, in f16, by as many numbers at a time as fill the same registers.

#import grid
#import ceiling_params

const ROUNDS = 16u; // of multiply-adds in a trip
const CHAINS = 24u; // of multiply-adds none of which waits for another

@compute @workgroup_size(64)
fn multiply_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let factor = vec4(f16(x4[0].x));
    let term = vec4(f16(x4[0].y));
    var a = vec4<f16>(x4[1]) + f16(lane);
    var b = vec4<f16>(x4[2]);
    var c = vec4<f16>(x4[3]);
    var d = vec4<f16>(x4[1].wzyx);
    var e = vec4<f16>(x4[2].wzyx);
    var f = vec4<f16>(x4[3].wzyx);
    for (var k = 0u; k < params.n; k++) {
        for (var round = 0u; round < ROUNDS; round++) {
            a = fma(a, factor, term);
            b = fma(b, factor, term);
            c = fma(c, factor, term);
            d = fma(d, factor, term);
            e = fma(e, factor, term);
            f = fma(f, factor, term);
        }
    }
    y4[group_index(group, groups) * 64u + lane] = vec4<f32>(a + b + c + d + e + f);
}
