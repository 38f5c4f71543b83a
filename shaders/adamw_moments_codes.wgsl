// AdamW of weights and gradients in f32, moments in 8 bits: see lib/adamw.wgsl.

#import adamw_weight_f32
#import adamw_step_codes
