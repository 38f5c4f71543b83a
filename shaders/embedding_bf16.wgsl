// Rows of a frozen table in bfloat16: the upper halves of f32, two to a word.

#import embedding_packed
#import numbers_bf16
