// Products with a frozen W whose numbers are packed. There is a module for each loader in lib/packed/, which
// says how the `at`-th four numbers of W are dequantized: `dequantized`.
//
//   nt:  Y[m,n] (+)= sum_k X[m,k] W[n,k] (+ addend)
//   nn:  Y[m,n] (+)= sum_k X[m,k] W[k,n]
//
// n and k are multiples of 4, the columns of W of 64, so that a group of numbers that share a scale never spans two rows.

#import packed/*
#import linear_registers
#import linear_row

const OUTER = 1u;
const INNER = 16u;
const QUADS = 4u;
const BLOCKS = 4u; // of sums that no host splits: rows of W end where whole groups do
