// Weights and gradients as bfloat16; new weights are rounded by chance, or steps of less than half a unit would be lost.

#import bf16
#import chance

@group(0) @binding(0) var<storage, read> grad: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> weights: array<vec2<u32>>;

fn gradient(i: u32) -> vec4<f32> {
    return dequantized_bf16(grad[i]);
}

fn weight(i: u32) -> vec4<f32> {
    return dequantized_bf16(weights[i]);
}

fn put_weight(i: u32, value: vec4<f32>) {
    weights[i] = narrowed(value, chance(i, 0u));
}
