enable f16;

// Attention in the form of lib/attention_tile.wgsl: 8 rows an invocation, heads of up to 128, staged in f16, summed in f32.

const EACH = 8u;
const SLOTS = 2u;

alias Four = vec4<f16>;

#import attention_tile_forward
