// Matrix products of a linear layer, all row-major, all f32, four numbers at a time: n, ldx, ldw, ldy and k (tn: m) are
// multiples of 4. linear_scalar.wgsl takes any sizes.
//
//   nt:  Y[m,n] (+)= sum_k X[m,k] W[n,k] (+ addend)     Y  = X W^T + b    the forward pass; or + R[m,n], a residual
//   nn:  Y[m,n] (+)= sum_k X[m,k] W[k,n]                dX = dY W         the input's gradient
//   tn:  Y[m,n] (+)= sum_k X[k,m] W[k,n]                dW = dY^T X       the weight's gradient
//
// Mesa 22.3 ends loops silently after about 65,535 trips, so the host splits k (with `accumulate`) to stay under 32,768.

#import numbers_f32
#import linear_registers
#import linear_registers_tn
#import linear_row

const OUTER = 1u;
const INNER = 16u;
const QUADS = 4u;
const BLOCKS = 8u;
