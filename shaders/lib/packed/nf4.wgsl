// Numbers packed: NF4 (Dettmers et al. 2023): one of 16 quantiles of the normal distribution, times the scale of its group of 64.
// `dequantized(at, groups_at)`: the `at`-th four of a matrix, row-major and dense, whose scales begin `groups_at` words into its memory.

const BITS = 4u;

@group(0) @binding(1) var<storage, read> words: array<u32>;

// As bitsandbytes has them. A variable: naga copies a constant array for every look into it.
var<private> QUANTILES: array<f32, 16> = array<f32, 16>(
    -1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
);

fn dequantized(at: u32, groups_at: u32) -> vec4<f32> {
    let q = (vec4(words[at / 2u]) >> (vec4(0u, 4u, 8u, 12u) + (at % 2u) * 16u)) & vec4(15u);
    let scale = bitcast<f32>(words[groups_at + at / 16u]);
    return vec4(QUANTILES[q.x], QUANTILES[q.y], QUANTILES[q.z], QUANTILES[q.w]) * scale;
}
