enable f16;
enable wgpu_cooperative_matrix;

// Matrix units of 8 x 8 x 8 with factors in f16 at their best: see lib/ceiling_units.wgsl.

#import ceiling_units

const SIDE = 8u;
alias Factor = f16;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
