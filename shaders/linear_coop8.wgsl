enable f16;
enable wgpu_cooperative_matrix;

// Products of linear layers by 8 x 8 x 8 units of f16: see lib/linear_coop.wgsl.

#import linear_coop
#import linear_units8

alias Staged = f16;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Rights = array<coop_mat8x8<f16, B>, 4>;
