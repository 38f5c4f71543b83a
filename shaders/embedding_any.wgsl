// As embedding.wgsl, for any sizes.

#import ones
#import embedding
