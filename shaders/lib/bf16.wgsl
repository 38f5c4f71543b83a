// Four bfloat16, the upper halves of f32, two to a word.

fn dequantized_bf16(two: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4(two.x << 16u, two.x & 0xffff0000u, two.y << 16u, two.y & 0xffff0000u));
}

// Each rounded away from 0 with the probability of what is cut off, by the 16 lower bits of `random`: right on average.
// What is not finite stays so.
fn narrowed(x: vec4<f32>, random: vec4<u32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(x);
    let finite = (bits & vec4(0x7f800000u)) != vec4(0x7f800000u);
    let halves = bits + select(vec4(0u), random & vec4(0xffffu), finite);
    let high = halves & vec4(0xffff0000u);
    return vec2((halves.x >> 16u) | high.y, (halves.z >> 16u) | high.w);
}
