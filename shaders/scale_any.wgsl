// As scale.wgsl, for any sizes.

#import ones
#import scale
