// Products of linear layers with 32 rows by 16 columns of Y in the registers of an invocation: see lib/linear_registers.wgsl.

#import numbers_f32
#import linear_registers
#import linear_registers_tn

const OUTER = 1u;
const INNER = 32u;
const QUADS = 4u;
const BLOCKS = 8u;
