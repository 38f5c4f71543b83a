// For attention_coop: units of 8 x 8 x 8, f16 with sums in f32. Numbers are staged one by one: naga's MSL for squares
// behind vectors is wrong, and Metal's units are of this size.

const SIDE = 8u;
const MOST = 4u;
const PER = 1u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;

override STAGE = 1024u; // rows and a block, or weights and a part
override SCORES = 256u; // 4352: 64 rows of 68 numbers

var<workgroup> stage: array<f16, STAGE>;
var<workgroup> scores: array<f32, SCORES>;

fn put_staged(at: u32, value: vec4<f32>) {
    stage[4u * at] = f16(value.x);
    stage[4u * at + 1u] = f16(value.y);
    stage[4u * at + 2u] = f16(value.z);
    stage[4u * at + 3u] = f16(value.w);
}

fn put_scores(at: u32, value: vec4<f32>) {
    scores[4u * at] = value.x;
    scores[4u * at + 1u] = value.y;
    scores[4u * at + 2u] = value.z;
    scores[4u * at + 3u] = value.w;
}

fn get_scores(at: u32) -> vec4<f32> {
    return vec4(scores[4u * at], scores[4u * at + 1u], scores[4u * at + 2u], scores[4u * at + 3u]);
}
