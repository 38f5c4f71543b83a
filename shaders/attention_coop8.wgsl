enable f16;
enable wgpu_cooperative_matrix;

// Attention by cooperative matrices of 8 x 8, for heads of up to 64 SLOTS: see lib/attention_squares.wgsl.

#instance 64: const SLOTS = 1u; alias Squares = array<coop_mat8x8<f32, C>, 16>;
#instance 128: const SLOTS = 2u; alias Squares = array<coop_mat8x8<f32, C>, 32>;

#import attention_coop_forward
#import attention_coop_backward_q
#import attention_coop_backward_kv
#import attention_coop8_parts
