enable f16;
enable wgpu_cooperative_matrix;

// Products of linear layers by 16 x 16 x 16 units of f16 with sums in f32, which only Vulkan has: see lib/linear_coop.wgsl. Four
// numbers are staged at a time.

#import linear_coop

const SIDE = 16u;
const ROWS = 4u;
const COLS = 4u;
const LOADS = 8u;
const PER = 4u;
alias Staged = vec4<f16>;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
alias Rights = array<coop_mat16x16<f16, B>, 4>;
alias Sums = array<coop_mat16x16<f32, C>, 16>;

fn put_x(to: u32, v: vec4<f32>) {
    stage_x[to / 4u] = vec4<f16>(v);
}

fn put_w(to: u32, v: vec4<f32>) {
    stage_w[to / 4u] = vec4<f16>(v);
}
