enable f16;
enable wgpu_cooperative_matrix;

// Attention by 16 x 16 x 16 units, for heads of up to 128: see lib/attention_coop.wgsl. STAGE is 1696.

#import attention_coop_forward
#import attention_coop_backward_q
#import attention_coop_backward_kv
#import attention_units16

const SLOTS = 2u;
alias Squares = array<coop_mat16x16<f32, C>, 16>;
