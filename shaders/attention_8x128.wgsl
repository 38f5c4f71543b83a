// Attention in the form of lib/attention_tile.wgsl: 8 rows an invocation, heads of up to 128.

const EACH = 8u;
const SLOTS = 2u;

alias Four = vec4<f32>;

#import attention_tile_forward
#import attention_tile_backward_q
