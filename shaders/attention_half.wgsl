enable f16;

// As attention_tile.wgsl, staged in f16, summed in f32.

#instance 8x64: const SLOTS = 1u;
#instance 8x128: const SLOTS = 2u;

const EACH = 8u;

alias Four = vec4<f16>;

#import attention_tile_forward
