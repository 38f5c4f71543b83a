enable f16;
enable wgpu_cooperative_matrix;

// Products of linear layers by 8 x 8 x 8 units of f16 with sums in f32: see lib/linear_coop.wgsl. Numbers are staged one by one,
// because naga's MSL for squares behind vectors is wrong, and Metal's units are of this size.

#import linear_coop

const SIDE = 8u;
const ROWS = 4u;
const COLS = 4u;
const LOADS = 8u;
const PER = 1u;
alias Staged = f16;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
alias Rights = array<coop_mat8x8<f16, B>, 4>;
alias Sums = array<coop_mat8x8<f32, C>, 16>;

fn put_x(to: u32, v: vec4<f32>) {
    stage_x[to] = f16(v.x);
    stage_x[to + 1u] = f16(v.y);
    stage_x[to + 2u] = f16(v.z);
    stage_x[to + 3u] = f16(v.w);
}

fn put_w(to: u32, v: vec4<f32>) {
    stage_w[to] = f16(v.x);
    stage_w[to + 1u] = f16(v.y);
    stage_w[to + 2u] = f16(v.z);
    stage_w[to + 3u] = f16(v.w);
}
