// Attention in the form of lib/attention_tile.wgsl: 4 rows an invocation, heads of up to 64.

const EACH = 4u;
const SLOTS = 1u;

alias Four = vec4<f32>;

#import attention_tile_forward
#import attention_tile_backward_q
#import attention_tile_backward_kv
