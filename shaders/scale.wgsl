// y = factor x.

#import fours
#import scale
