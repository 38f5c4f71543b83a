// As norm_rope.wgsl, for any sizes.

#import ones
#import norm_rope
