// Numbers as they are. `dequantized(at, _)`: the `at`-th four of a matrix, row-major.

const BITS = 32u;

@group(0) @binding(1) var<storage, read> w4: array<vec4<f32>>;

fn dequantized(at: u32, groups_at: u32) -> vec4<f32> {
    return w4[at];
}
