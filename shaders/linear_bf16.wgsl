// Products with a frozen W in bfloat16: the upper halves of f32, two to a word.

#import linear_packed
#import numbers_bf16
