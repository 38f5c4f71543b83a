// Numbers packed: 8 bits, affine: scale q + offset for each group of 64.
// `dequantized(at, groups_at)`: the `at`-th four of a matrix, row-major and dense, whose groups begin `groups_at` words into its memory.

#import affine

const BITS = 8u;

fn dequantized(at: u32, groups_at: u32) -> vec4<f32> {
    return affine((vec4(words[at]) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u), at, groups_at);
}
