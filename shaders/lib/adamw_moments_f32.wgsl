// Moments as f32.

@group(0) @binding(5) var<storage, read_write> moment1_4: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> moment2_4: array<vec4<f32>>;

fn moment1(i: u32) -> vec4<f32> {
    return moment1_4[i];
}

fn moment2(i: u32) -> vec4<f32> {
    return moment2_4[i];
}

fn put_moments(i: u32, first: vec4<f32>, second: vec4<f32>) {
    moment1_4[i] = first;
    moment2_4[i] = second;
}
