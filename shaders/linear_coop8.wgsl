enable wgpu_cooperative_matrix;

// Products of linear layers by cooperative matrices of 8 x 8 x 8 with sums in f32, of f32 as Metal has them or of f16: see
// lib/linear_squares.wgsl. Numbers are staged one by one, because naga's MSL for squares behind vectors is wrong.

#instance f16: enable f16; alias Staged = f16; alias Left = coop_mat8x8<f16, A>; alias Right = coop_mat8x8<f16, B>; alias Rights = array<coop_mat8x8<f16, B>, 4>;
#instance f32: alias Staged = f32; alias Left = coop_mat8x8<f32, A>; alias Right = coop_mat8x8<f32, B>; alias Rights = array<coop_mat8x8<f32, B>, 4>;

#import linear_squares

const SIDE = 8u;
const ROWS = 4u;
const COLS = 4u;
const LOADS = 8u;
const PER = 1u;
alias Sum = coop_mat8x8<f32, C>;
alias Sums = array<coop_mat8x8<f32, C>, 16>;

fn put_x(to: u32, v: vec4<f32>) {
    stage_x[to] = Staged(v.x);
    stage_x[to + 1u] = Staged(v.y);
    stage_x[to + 2u] = Staged(v.z);
    stage_x[to + 3u] = Staged(v.w);
}

fn put_w(to: u32, v: vec4<f32>) {
    stage_w[to] = Staged(v.x);
    stage_w[to + 1u] = Staged(v.y);
    stage_w[to + 2u] = Staged(v.z);
    stage_w[to + 3u] = Staged(v.w);
}
