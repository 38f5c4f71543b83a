// Numbers packed: halves, two to a word.
// `dequantized(at, _)`: the `at`-th four of a matrix, row-major and dense.

const BITS = 16u;

@group(0) @binding(1) var<storage, read> words: array<vec2<u32>>;

// Dequantized by hand: `unpack2x16float` is no feature of every device, and some take halves below 2^-14 for 0.
fn dequantized(at: u32, groups_at: u32) -> vec4<f32> {
    let two = words[at];
    let upper = vec4(two.x << 16u, two.x, two.y << 16u, two.y);
    let bits = (upper & vec4(0x7fff0000u)) >> vec4(3u);
    let small = vec4<f32>(bits) * 0x1p-37;
    let size = select(bitcast<vec4<f32>>(bits) * 0x1p112, small, bits < vec4(0x00800000u));
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(size) | (upper & vec4(0x80000000u)));
}
