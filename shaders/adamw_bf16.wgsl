// AdamW of weights and gradients in bfloat16, moments too: see lib/adamw.wgsl.

#import adamw_weight_bf16
#import adamw_moments_bf16
#import adamw_squares
#import adamw_step
