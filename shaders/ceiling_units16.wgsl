enable f16;
enable wgpu_cooperative_matrix;

// Matrix units of 16 x 16 x 16 with factors in f16 at their best: see lib/ceiling_units.wgsl.

#import ceiling_units

const SIDE = 16u;
alias Factor = f16;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
