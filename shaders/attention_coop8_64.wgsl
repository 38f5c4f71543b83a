enable f16;
enable wgpu_cooperative_matrix;

// Attention by 8 x 8 x 8 units, for heads of up to 64: see lib/attention_coop.wgsl. STAGE is 5760.

#import attention_coop_forward
#import attention_coop_backward_q
#import attention_coop_backward_kv
#import attention_units8

const SLOTS = 1u;
alias Squares = array<coop_mat8x8<f32, C>, 16>;
