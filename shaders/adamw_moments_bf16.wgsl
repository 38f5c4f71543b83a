// AdamW of weights and gradients in f32, moments in bfloat16: see lib/adamw.wgsl.

#import adamw_weight_f32
#import adamw_moments_bf16
#import adamw_step
