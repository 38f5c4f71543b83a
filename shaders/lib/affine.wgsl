// What numbers of 8 or 4 bits share: scale q + offset for each group of 64, both as halves in one word.

@group(0) @binding(1) var<storage, read> words: array<u32>;

// Halves stand for multiples of 1/256, which keeps scales of usual weights away from halves below 2^-14; of those there are
// none but 0. The bits of such a half are those of an f32 that is 2^-112 times as large.
const UNIT = 0x1p104;

// Of the `at`-th four of a matrix, whose groups begin `groups_at` words into its memory.
fn affine(q: vec4<u32>, at: u32, groups_at: u32) -> vec4<f32> {
    let word = words[groups_at + at / 16u];
    let bits = (bitcast<vec2<i32>>(vec2(word << 16u, word)) >> vec2(3u)) & vec2(bitcast<i32>(0x8fffe000u));
    let group = bitcast<vec2<f32>>(bits) * UNIT;
    return vec4<f32>(q) * group.x + group.y;
}
