// The gate of a feed-forward.

#import fours
#import gated_mlp
