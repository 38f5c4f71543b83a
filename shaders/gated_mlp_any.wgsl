// As gated_mlp.wgsl, for any sizes.

#import ones
#import gated_mlp
