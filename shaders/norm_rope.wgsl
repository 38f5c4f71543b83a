// RMSNorm of heads and their rotation in one.

#import fours
#import norm_rope
