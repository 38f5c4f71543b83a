struct Params {
    m: u32,
    n: u32,
    k: u32,
    ldx: u32, // numbers from one row of X to the next; the same for W and Y
    ldw: u32,
    ldy: u32,
    accumulate: u32, // 0: Y is overwritten, 1: added to
    addend: u32, // what nt adds besides: NOTHING, and its buffer may be any that is only read, say W's; BIAS or RESIDUAL
}

var<immediate> params: Params;

const NOTHING = 0u;
const BIAS = 1u; // the same row to each of Y
const RESIDUAL = 2u; // rows of their own, `ldy` numbers from one to the next

// Where what is added to a row of Y begins.
fn addend_row(row: u32) -> u32 {
    return select(0u, row * params.ldy, params.addend == RESIDUAL);
}
