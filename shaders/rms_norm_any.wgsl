// As rms_norm.wgsl, for any sizes.

#import ones
#import rms_norm
