// Attention with sums in registers: see lib/attention_tile.wgsl. EACH rows an invocation, heads of up to 64 SLOTS.

#instance 4x64: const EACH = 4u; const SLOTS = 1u;
#instance 4x128: const EACH = 4u; const SLOTS = 2u;
#instance 4x256: const EACH = 4u; const SLOTS = 4u;
#instance 8x64: const EACH = 8u; const SLOTS = 1u;
#instance 8x128: const EACH = 8u; const SLOTS = 2u;

alias Four = vec4<f32>;

#import attention_tile_forward
#import attention_tile_backward_q
#import attention_tile_backward_kv
