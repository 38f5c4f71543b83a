// Moments as bfloat16, rounded by chance: the second moves by less than half a unit in most steps.

#import bf16
#import chance

@group(0) @binding(5) var<storage, read_write> first_moments: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> second_moments: array<vec2<u32>>;

fn moment1(i: u32) -> vec4<f32> {
    return dequantized_bf16(first_moments[i]);
}

fn moment2(i: u32) -> vec4<f32> {
    return dequantized_bf16(second_moments[i]);
}

fn put_moments(i: u32, first: vec4<f32>, second: vec4<f32>) {
    let random = chance(i, 1u);
    first_moments[i] = narrowed(first, random);
    second_moments[i] = narrowed(second, random >> vec4(16u));
}
