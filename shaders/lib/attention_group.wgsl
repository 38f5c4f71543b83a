// Attention by workgroups, for GPUs: who works on what, and what is staged in workgroup memory.
//
// A workgroup owns rows() rows of one kv head and walks over the other side WALK places at a time, both staged through
// workgroup memory. A row or place of queries is a pair (query, query head that shares the kv head), f = i (H / K) + h:
// consecutive in memory, so keys and values are staged once for all heads that share them, and the gradients of keys and
// values are summed over those heads in one workgroup.
//
// Invocation (x, y) of WIDE by TALL holds scores of the rows y + TALL m and places 4 x .. 4 x + 4 of a block, and the columns
// 4 (x + 16 slot) .. + 4 of the same rows of a result.
//
// Who imports this sets: EACH, rows of an invocation; SLOTS, vectors of a row of a result (heads of up to 64 SLOTS); TALL;
// PART, places of a block staged at a time for a product over places; DEEP_STRIDE, SCORE_STRIDE and PART_STRIDE, vectors
// from one staged row to the next; SHUFFLED, see Part; put_staged, which stages a vector.

#import attention

const WIDE = 16u; // invocations of a row
const WALK = 64u; // places of a block, 4 an invocation
const DEEP = 8u; // vectors of a head that are staged at a time for a product along it

var<workgroup> walk_low: atomic<u32>;
var<workgroup> walk_high: atomic<u32>;
var<workgroup> walk_range: vec2<u32>;

alias Scores = array<vec4<f32>, EACH>;
alias Sums = array<array<vec4<f32>, SLOTS>, EACH>;
alias Bounds = array<vec2<u32>, EACH>; // low <= place < high

struct Place {
    x: u32,
    y: u32,
    index: u32, // in the workgroup
    head_kv: u32,
    first: u32, // row of the workgroup
}

fn rows() -> u32 {
    return TALL * EACH;
}

fn place_of(block: u32, head_kv: u32, index: u32) -> Place {
    return Place(index % WIDE, index / WIDE, index, head_kv, block * rows());
}

// A part of q, k, v or dout, and where it goes: rows first .. first + count < past, vectors depth .. depth + width of each,
// to vectors at + stride row. Zeros stand for what is not there.
struct Part {
    first: u32,
    past: u32,
    count: u32,
    depth: u32,
    width: u32,
    at: u32,
    stride: u32,
    shuffled: bool, // rows 0, 4, 8 .. first, then 1, 5, 9 ..
}

// Rows of the workgroup, for a product along heads.
fn of_rows(place: Place, past: u32, depth: u32) -> Part {
    return Part(place.first, past, rows(), depth, DEEP, 0u, DEEP_STRIDE, false);
}

// Places of a block, for a product along heads.
fn of_block(first: u32, past: u32, depth: u32) -> Part {
    return Part(first, past, WALK, depth, DEEP, rows() * DEEP_STRIDE, DEEP_STRIDE, SHUFFLED);
}

// Places of a block, for a product over them.
fn of_part(first: u32, past: u32) -> Part {
    return Part(first, past, PART, 0u, WIDE * SLOTS, rows() * SCORE_STRIDE, PART_STRIDE, false);
}

fn target_of(part: Part, r: u32, d: u32) -> u32 {
    let row = select(r, r % 4u * (part.count / 4u) + r / 4u, part.shuffled);
    return part.at + row * part.stride + d;
}

fn stage_q(part: Part, place: Place) {
    for (var i = place.index; i < part.count * part.width; i += WIDE * TALL) {
        let r = i / part.width;
        let d = i % part.width;
        var value = vec4<f32>();
        if part.first + r < part.past && part.depth + d < quads() {
            value = q[pair(part.first + r, place.head_kv) * quads() + part.depth + d];
        }
        put_staged(target_of(part, r, d), value);
    }
}

fn stage_k(part: Part, place: Place) {
    for (var i = place.index; i < part.count * part.width; i += WIDE * TALL) {
        let r = i / part.width;
        let d = i % part.width;
        var value = vec4<f32>();
        if part.first + r < part.past && part.depth + d < quads() {
            value = k[((part.first + r) * params.kv_heads + place.head_kv) * quads() + part.depth + d];
        }
        put_staged(target_of(part, r, d), value);
    }
}

fn stage_v(part: Part, place: Place) {
    for (var i = place.index; i < part.count * part.width; i += WIDE * TALL) {
        let r = i / part.width;
        let d = i % part.width;
        var value = vec4<f32>();
        if part.first + r < part.past && part.depth + d < quads() {
            value = v[((part.first + r) * params.kv_heads + place.head_kv) * quads() + part.depth + d];
        }
        put_staged(target_of(part, r, d), value);
    }
}

fn stage_dout(part: Part, place: Place) {
    for (var i = place.index; i < part.count * part.width; i += WIDE * TALL) {
        let r = i / part.width;
        let d = i % part.width;
        var value = vec4<f32>();
        if part.first + r < part.past && part.depth + d < quads() {
            value = dout[pair(part.first + r, place.head_kv) * quads() + part.depth + d];
        }
        put_staged(target_of(part, r, d), value);
    }
}

// The places that some row of the workgroup needs: a range for all of it, the same for all invocations.
fn range_of(place: Place, bounds: ptr<function, Bounds>) -> vec2<u32> {
    if place.index == 0u {
        atomicStore(&walk_low, 0xffffffffu);
        atomicStore(&walk_high, 0u);
    }
    workgroupBarrier();
    if place.x == 0u {
        for (var m = 0u; m < EACH; m++) {
            let bound = (*bounds)[m];
            if bound.x < bound.y {
                atomicMin(&walk_low, bound.x);
                atomicMax(&walk_high, bound.y);
            }
        }
    }
    workgroupBarrier();
    if place.index == 0u {
        walk_range = vec2(atomicLoad(&walk_low), atomicLoad(&walk_high));
    }
    return workgroupUniformLoad(&walk_range);
}

// The keys that row f of the workgroup's kv head sees, as far as this dispatch counts them.
fn keys_of(f: u32) -> vec2<u32> {
    if f >= pairs() {
        return vec2<u32>();
    }
    let i = f / shared_by();
    return vec2(max(first_key(i), params.begin), min(spans[i].y, params.end));
}
