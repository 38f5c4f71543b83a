// Attention by the matrix units of a device, with 64 rows a workgroup of 128 invocations: what the kernels of
// attention_coop_forward.wgsl and attention_coop_backward_*.wgsl share.
//
// A strip is a row of four squares of SIDE by SIDE; subgroups take turns at the strips of a product. Nothing can be read from
// or done to the numbers of a square, so scores pass through workgroup memory to the invocations that own their rows, the
// weights go back as f16, and so does each block's share of the result, which is added to the sums in registers.
//
// The file that imports one of them sets: SIDE; SLOTS; MOST, strips of a subgroup at most for 64 columns; Left, Right, Sum, the
// squares; Squares: array<Sum, 4 MOST SLOTS>; stage (f16) and scores (f32) in workgroup memory, PER
// numbers an element of either; put_staged, put_scores and get_scores for four numbers at a time. SUBGROUP must be the size
// of the device's subgroups, and invocations must be numbered along them, as they are everywhere.

#import attention_group

const EACH = 8u;
const TALL = 8u;
const PART = 16u;
const DEEP_STRIDE = 10u;
const SCORE_STRIDE = 18u;
const PART_STRIDE = 16u * SLOTS + 2u;
const SHUFFLED = false;
const KEPT_STRIDE = 17u; // vectors between rows of scores

override SUBGROUP = 32u;
override STRIPS: u32 = 1024u / (SIDE * SIDE) * SUBGROUP / 128u; // of a subgroup, for 64 columns

// The first row and column of a subgroup's strip.
fn strip(place: Place, i: u32) -> vec2<u32> {
    let strip = place.index / SUBGROUP + i * (128u / SUBGROUP);
    let across = 16u / SIDE;
    return vec2(strip / across * SIDE, strip % across * 4u * SIDE);
}

// Adds the products of staged rows and staged places.
fn multiply(place: Place, squares: ptr<function, Squares>) {
    for (var i = 0u; i < STRIPS; i++) {
        let at = strip(place, i);
        for (var k = 0u; k < 4u * DEEP; k += SIDE) {
            let a = coopLoadT<Left>(&stage[(at.x * 4u * DEEP_STRIDE + k) / PER], 4u * DEEP_STRIDE / PER);
            for (var j = 0u; j < 4u; j++) {
                let row = 64u + at.y + j * SIDE;
                let b = coopLoad<Right>(&stage[(row * 4u * DEEP_STRIDE + k) / PER], 4u * DEEP_STRIDE / PER);
                (*squares)[i * 4u + j] = coopMultiplyAdd(a, b, (*squares)[i * 4u + j]);
            }
        }
    }
}

// Adds the staged places first .. first + PART of a block, times their weights.
fn add_part(place: Place, first: u32, squares: ptr<function, Squares>) {
    for (var i = 0u; i < STRIPS; i++) {
        let at = strip(place, i);
        for (var k = 0u; k < PART; k += SIDE) {
            let weights = at.x * 4u * SCORE_STRIDE + first + k;
            let a = coopLoadT<Left>(&stage[weights / PER], 4u * SCORE_STRIDE / PER);
            for (var slot = 0u; slot < SLOTS; slot++) {
                for (var j = 0u; j < 4u; j++) {
                    let col = 64u * slot + at.y + j * SIDE;
                    let staged = 4u * (64u * SCORE_STRIDE + k * PART_STRIDE) + col;
                    let b = coopLoadT<Right>(&stage[staged / PER], 4u * PART_STRIDE / PER);
                    (*squares)[(slot * MOST + i) * 4u + j] = coopMultiplyAdd(a, b, (*squares)[(slot * MOST + i) * 4u + j]);
                }
            }
        }
    }
}

// From the units to workgroup memory, for those who own the rows.
fn hand_over(place: Place, squares: ptr<function, Squares>, slot: u32) {
    for (var i = 0u; i < STRIPS; i++) {
        let at = strip(place, i);
        for (var j = 0u; j < 4u; j++) {
            // Named first: naga writes the store before what it is given otherwise.
            let square = (*squares)[(slot * MOST + i) * 4u + j];
            let to = (at.x * 4u * KEPT_STRIDE + at.y + j * SIDE) / PER;
            coopStoreT(square, &scores[to], 4u * KEPT_STRIDE / PER);
        }
    }
}

fn clear(squares: ptr<function, Squares>) {
    for (var i = 0u; i < 4u * MOST * SLOTS; i++) {
        (*squares)[i] = Sum();
    }
}

fn own(place: Place, m: u32) -> u32 {
    return (place.y + TALL * m) * KEPT_STRIDE + place.x;
}

// From the units through workgroup memory to the invocations that own them: a block's products.
fn take(place: Place, squares: ptr<function, Squares>, s: ptr<function, Scores>) {
    hand_over(place, squares, 0u);
    workgroupBarrier();
    for (var m = 0u; m < EACH; m++) {
        (*s)[m] = get_scores(own(place, m));
    }
    workgroupBarrier();
}

// The same of a result, added to what is there in shares of `by`.
fn take_sums(place: Place, squares: ptr<function, Squares>, by: f32, sums: ptr<function, Sums>) {
    for (var slot = 0u; slot < SLOTS; slot++) {
        hand_over(place, squares, slot);
        workgroupBarrier();
        for (var m = 0u; m < EACH; m++) {
            (*sums)[m][slot] += by * get_scores(own(place, m));
        }
        workgroupBarrier();
    }
}
