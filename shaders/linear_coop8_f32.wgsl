enable wgpu_cooperative_matrix;

// Products of linear layers by 8 x 8 x 8 units of f32, which Metal has: see lib/linear_coop.wgsl.

#import linear_coop
#import linear_units8

alias Staged = f32;
alias Left = coop_mat8x8<f32, A>;
alias Right = coop_mat8x8<f32, B>;
alias Rights = array<coop_mat8x8<f32, B>, 4>;
