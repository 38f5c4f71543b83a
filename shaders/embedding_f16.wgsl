// Rows of a frozen table in halves, two to a word.

#import embedding_packed
#import numbers_f16
