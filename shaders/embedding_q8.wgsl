// Rows of a frozen table in 8 bits, affine: scale q + offset for each group of 64.

#import embedding_packed
#import numbers_q8
