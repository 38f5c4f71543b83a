// As column_sum.wgsl, for any sizes.

#import ones
#import column_sum
