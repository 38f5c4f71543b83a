// Numbers packed: bfloat16: the upper halves of f32, two to a word.
// `dequantized(at, _)`: the `at`-th four of a matrix, row-major and dense.

const BITS = 16u;

@group(0) @binding(1) var<storage, read> words: array<vec2<u32>>;

fn dequantized(at: u32, groups_at: u32) -> vec4<f32> {
    let two = words[at];
    return bitcast<vec4<f32>>(vec4(two.x << 16u, two.x & 0xffff0000u, two.y << 16u, two.y & 0xffff0000u));
}
