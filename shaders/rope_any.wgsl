// As rope.wgsl, for any sizes.

#import ones
#import rope
