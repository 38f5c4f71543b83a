// Numbers packed: 4 bits, affine: scale q + offset for each group of 64.
// `dequantized(at, groups_at)`: the `at`-th four of a matrix, row-major and dense, whose groups begin `groups_at` words into its memory.

#import affine

const BITS = 4u;

fn dequantized(at: u32, groups_at: u32) -> vec4<f32> {
    return affine((vec4(words[at / 2u]) >> (vec4(0u, 4u, 8u, 12u) + (at % 2u) * 16u)) & vec4(15u), at, groups_at);
}
