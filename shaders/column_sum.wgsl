// Sums of columns.

#import fours
#import column_sum
