// As add.wgsl, for any sizes.

#import ones
#import add
