// Rotary position embedding.

#import fours
#import rope
