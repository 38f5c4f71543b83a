// y = a + b, and y += a.

#import fours
#import add
