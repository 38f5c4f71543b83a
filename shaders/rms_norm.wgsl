// RMSNorm, perhaps of a sum.

#import fours
#import rms_norm
