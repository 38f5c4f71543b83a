// Attention with sums in registers: what the kernels of attention_tile_forward.wgsl and attention_tile_backward_*.wgsl share.
//
// The file that imports one of them sets EACH and SLOTS, and Four, the vector that is staged. Overrides set the geometry and
// the memory. Rows y + TALL m rather than neighbouring ones, shuffled places, and strides of an odd number of vectors keep
// neighbouring invocations on different banks.

#import attention_group

const DEEP_STRIDE = 9u;
const SCORE_STRIDE = 17u;
const PART_STRIDE = WIDE * SLOTS;
const SHUFFLED = true;

override TALL = 8u; // invocations of a column; rows of a workgroup = TALL EACH
override PART = 8u; // a multiple of 4 that divides WALK
override STAGE = 864u; // vectors: max(DEEP_STRIDE (rows + WALK), SCORE_STRIDE rows + PART PART_STRIDE)

var<workgroup> stage: array<Four, STAGE>;

fn put_staged(at: u32, value: vec4<f32>) {
    stage[at] = Four(value);
}

// Adds the products of staged rows and staged places to a tile.
fn multiply(place: Place, tile: ptr<function, Scores>) {
    for (var d = 0u; d < DEEP; d++) {
        let at = rows() * DEEP_STRIDE + place.x * DEEP_STRIDE + d;
        let k0 = vec4<f32>(stage[at]);
        let k1 = vec4<f32>(stage[at + 16u * DEEP_STRIDE]);
        let k2 = vec4<f32>(stage[at + 32u * DEEP_STRIDE]);
        let k3 = vec4<f32>(stage[at + 48u * DEEP_STRIDE]);
        for (var m = 0u; m < EACH; m++) {
            let row = vec4<f32>(stage[(place.y + TALL * m) * DEEP_STRIDE + d]);
            // Not a product with a matrix: that is four dot products and an addition.
            (*tile)[m] += row.x * vec4(k0.x, k1.x, k2.x, k3.x);
            (*tile)[m] += row.y * vec4(k0.y, k1.y, k2.y, k3.y);
            (*tile)[m] += row.z * vec4(k0.z, k1.z, k2.z, k3.z);
            (*tile)[m] += row.w * vec4(k0.w, k1.w, k2.w, k3.w);
        }
    }
}

// Stages a tile of weights for `add_part`.
fn put(place: Place, tile: ptr<function, Scores>) {
    for (var m = 0u; m < EACH; m++) {
        stage[(place.y + TALL * m) * SCORE_STRIDE + place.x] = Four((*tile)[m]);
    }
}

// Adds the staged places first .. first + PART of a block, times their weights, to the sums.
fn add_part(place: Place, first: u32, sums: ptr<function, Sums>) {
    for (var c = 0u; c < PART / 4u; c++) {
        let at = rows() * SCORE_STRIDE + c * 4u * WIDE * SLOTS + place.x;
        for (var slot = 0u; slot < SLOTS; slot++) {
            let v0 = vec4<f32>(stage[at + slot * WIDE]);
            let v1 = vec4<f32>(stage[at + (SLOTS + slot) * WIDE]);
            let v2 = vec4<f32>(stage[at + (2u * SLOTS + slot) * WIDE]);
            let v3 = vec4<f32>(stage[at + (3u * SLOTS + slot) * WIDE]);
            for (var m = 0u; m < EACH; m++) {
                let p = vec4<f32>(stage[(place.y + TALL * m) * SCORE_STRIDE + first / 4u + c]);
                (*sums)[m][slot] += p.x * v0;
                (*sums)[m][slot] += p.y * v1;
                (*sums)[m][slot] += p.z * v2;
                (*sums)[m][slot] += p.w * v3;
            }
        }
    }
}
