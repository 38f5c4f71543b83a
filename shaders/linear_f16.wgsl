// Products with a frozen W in halves, two to a word.

#import linear_packed
#import numbers_f16
