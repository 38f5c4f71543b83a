struct Params {
    m: u32,
    n: u32,
    k: u32,
    ldx: u32, // numbers from one row of X to the next; the same for W and Y
    ldw: u32,
    ldy: u32,
    accumulate: u32, // 0: Y is overwritten, 1: added to
    has_bias: u32, // nt only; where 0, the bias is not read: any read-only buffer, say W's, may stand there
}

var<immediate> params: Params;
