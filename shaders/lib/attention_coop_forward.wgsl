// Attention forward by the matrix units of a device: attention.wgsl's `forward`, with 64 rows a workgroup of 128 invocations.
//
// A strip is a row of four squares of SIDE by SIDE; subgroups take turns at the strips of a product. Nothing can be read from
// or done to the numbers of a square, so scores pass through workgroup memory to the invocations that own their rows, the
// weights go back as f16, and so does each block's share of the result, which is added to the sums in registers.
//
// The file that imports this sets: SIDE; SLOTS; MOST, strips of a subgroup at most for 64 columns; Left, Right, Sum, the
// squares; Squares: array<Sum, 4 MOST SLOTS>; stage (f16) and scores (f32) in workgroup memory, PER
// numbers an element of either; put_staged, put_scores and get_scores for four numbers at a time. SUBGROUP must be the size
// of the device's subgroups, and invocations must be numbered along them, as they are everywhere.
//
// Grid as in attention_tile_forward.wgsl.

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

// Folds a value of each of the 16 invocations of a row; every one of them gets the result for each of its rows. Scores must
// not be in use.
fn fold(place: Place, adding: bool, values: ptr<function, array<f32, EACH>>) {
    for (var half = 0u; half < 2u; half++) {
        let few = vec4((*values)[4u * half], (*values)[4u * half + 1u], (*values)[4u * half + 2u], (*values)[4u * half + 3u]);
        put_scores((place.y * 2u + half) * KEPT_STRIDE + place.x, few);
    }
    workgroupBarrier();
    if place.index < 2u * TALL {
        var all = get_scores(place.index * KEPT_STRIDE);
        for (var x = 1u; x < WIDE; x++) {
            let next = get_scores(place.index * KEPT_STRIDE + x);
            all = select(max(all, next), all + next, adding);
        }
        put_scores(place.index * KEPT_STRIDE + WIDE, all);
    }
    workgroupBarrier();
    for (var half = 0u; half < 2u; half++) {
        let few = get_scores((place.y * 2u + half) * KEPT_STRIDE + WIDE);
        for (var i = 0u; i < 4u; i++) {
            (*values)[4u * half + i] = few[i];
        }
    }
}

@compute @workgroup_size(WIDE, TALL)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let place = place_of(groups.x - 1u - group.x, group.y, index);
    var bounds: Bounds;
    var top: array<f32, EACH>; // of a row: the largest score so far
    var total: array<f32, EACH>; // the invocation's share of sum exp(score - top)
    var sums: Sums;
    for (var m = 0u; m < EACH; m++) {
        let f = place.first + place.y + TALL * m;
        bounds[m] = keys_of(f);
        top[m] = NONE;
        if params.accumulate != 0u && f < pairs() {
            let at = pair(f, place.head_kv);
            top[m] = lse[at];
            total[m] = select(0.0, 1.0, top[m] > NONE && place.x == 0u);
            for (var slot = 0u; slot < SLOTS; slot++) {
                let d = slot * WIDE + place.x;
                if d < quads() && top[m] > NONE {
                    sums[m][slot] = o[at * quads() + d];
                }
            }
        }
    }
    let range = range_of(place, &bounds);
    for (var key = range.x; key < range.y; key += WALK) {
        var squares: Squares;
        clear(&squares);
        for (var d = 0u; d < quads(); d += DEEP) {
            workgroupBarrier();
            stage_q(of_rows(place, pairs(), d), place);
            stage_k(of_block(key, range.y, d), place);
            workgroupBarrier();
            multiply(place, &squares);
        }
        hand_over(place, &squares, 0u);
        workgroupBarrier();
        var s: Scores;
        var now: array<f32, EACH>;
        for (var m = 0u; m < EACH; m++) {
            let seen = within(key + 4u * place.x, bounds[m].x, bounds[m].y);
            s[m] = select(vec4(2.0 * NONE), scored(get_scores(own(place, m))), seen);
            now[m] = max(max(s[m].x, s[m].y), max(s[m].z, s[m].w));
        }
        workgroupBarrier();
        fold(place, false, &now);
        for (var m = 0u; m < EACH; m++) {
            now[m] = max(top[m], now[m]);
            let keep = exp(top[m] - now[m]);
            top[m] = now[m];
            s[m] = select(exp(s[m] - now[m]), vec4<f32>(), s[m] < vec4(NONE));
            total[m] = total[m] * keep + (s[m].x + s[m].y) + (s[m].z + s[m].w);
            for (var slot = 0u; slot < SLOTS; slot++) {
                sums[m][slot] *= keep;
            }
            put_staged((place.y + TALL * m) * SCORE_STRIDE + place.x, s[m]);
        }
        clear(&squares);
        for (var part = 0u; part < WALK; part += PART) {
            stage_v(of_part(key + part, range.y), place);
            workgroupBarrier();
            add_part(place, part, &squares);
            workgroupBarrier();
        }
        for (var slot = 0u; slot < SLOTS; slot++) {
            hand_over(place, &squares, slot);
            workgroupBarrier();
            for (var m = 0u; m < EACH; m++) {
                sums[m][slot] += get_scores(own(place, m));
            }
            workgroupBarrier();
        }
    }
    fold(place, true, &total);
    for (var m = 0u; m < EACH; m++) {
        let f = place.first + place.y + TALL * m;
        if f < pairs() {
            let at = pair(f, place.head_kv);
            if place.x == 0u {
                lse[at] = select(NONE, top[m] + log(total[m]), total[m] > 0.0);
            }
            let share = select(0.0, 1.0 / total[m], total[m] > 0.0);
            for (var slot = 0u; slot < SLOTS; slot++) {
                let d = slot * WIDE + place.x;
                if d < quads() {
                    o[at * quads() + d] = sums[m][slot] * share;
                }
            }
        }
    }
}
