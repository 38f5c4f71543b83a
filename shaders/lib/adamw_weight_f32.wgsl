// Weights and gradients as f32.

@group(0) @binding(0) var<storage, read> grad4: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> weight4: array<vec4<f32>>;

fn gradient(i: u32) -> vec4<f32> {
    return grad4[i];
}

fn weight(i: u32) -> vec4<f32> {
    return weight4[i];
}

fn put_weight(i: u32, value: vec4<f32>) {
    weight4[i] = value;
}
