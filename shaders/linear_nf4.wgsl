// Products with a frozen W in NF4 (Dettmers et al. 2023): one of 16 quantiles of the normal distribution, times the scale of its group of 64.

#import linear_packed
#import numbers_nf4
