// AdamW of weights and gradients in bfloat16, moments in 8 bits: see lib/adamw.wgsl.

#import adamw_weight_bf16
#import adamw_step_codes
