enable f16;
enable wgpu_cooperative_matrix;

// Products of linear layers by cooperative matrices of 16 x 16 x 16, f16 with sums in f32, which only Vulkan has: see
// lib/linear_squares.wgsl. ROWS by COLS squares a subgroup; four numbers are staged at a time.

#instance 4x4: const ROWS = 4u; const COLS = 4u; alias Sums = array<coop_mat16x16<f32, C>, 16>;
#instance 2x4: const ROWS = 2u; const COLS = 4u; alias Sums = array<coop_mat16x16<f32, C>, 8>;

#import linear_squares

const SIDE = 16u;
const LOADS = 8u;
const PER = 4u;
alias Staged = vec4<f16>;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
alias Rights = array<coop_mat16x16<f16, B>, 4>;

fn put_x(to: u32, v: vec4<f32>) {
    stage_x[to / 4u] = vec4<f16>(v);
}

fn put_w(to: u32, v: vec4<f32>) {
    stage_w[to / 4u] = vec4<f16>(v);
}
