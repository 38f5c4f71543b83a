// For attention_coop: units of 16 x 16 x 16, f16 with sums in f32. Only Vulkan has them.

const SIDE = 16u;
const MOST = 2u;
const PER = 4u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

override STAGE = 1024u; // rows and a block, or weights and a part
override SCORES = 256u; // 1088: 64 rows of 68 numbers

var<workgroup> stage: array<vec4<f16>, STAGE>;
var<workgroup> scores: array<vec4<f32>, SCORES>;

fn put_staged(at: u32, value: vec4<f32>) {
    stage[at] = vec4<f16>(value);
}

fn put_scores(at: u32, value: vec4<f32>) {
    scores[at] = value;
}

fn get_scores(at: u32) -> vec4<f32> {
    return scores[at];
}
