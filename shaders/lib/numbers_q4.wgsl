// Numbers held packed: 4 bits, affine: scale q + offset for each group of 64.
// `wide(at, groups_at)`: the `at`-th four of a matrix, row-major and dense, whose scales begin `groups_at` pairs into its memory.

const BITS = 4u;

@group(0) @binding(1) var<storage, read> words: array<u32>;
@group(0) @binding(4) var<storage, read> groups: array<vec2<f32>>; // scale and offset of 64 numbers; the same memory

fn wide(at: u32, groups_at: u32) -> vec4<f32> {
    let q = (vec4(words[at / 2u]) >> (vec4(0u, 4u, 8u, 12u) + (at % 2u) * 16u)) & vec4(15u);
    let group = groups[groups_at + at / 16u];
    return vec4<f32>(q) * group.x + group.y;
}
