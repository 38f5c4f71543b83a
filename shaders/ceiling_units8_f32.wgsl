enable wgpu_cooperative_matrix;

// Matrix units of 8 x 8 x 8 in f32 at their best: see lib/ceiling_units.wgsl.

#import ceiling_units

const SIDE = 8u;
alias Factor = f32;
alias Left = coop_mat8x8<f32, A>;
alias Right = coop_mat8x8<f32, B>;
alias Sum = coop_mat8x8<f32, C>;
