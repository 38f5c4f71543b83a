// Products with a frozen W in 8 bits, affine: scale q + offset for each group of 64.

#import linear_packed
#import numbers_q8
