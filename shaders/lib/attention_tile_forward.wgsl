// Attention forward for GPUs: attention.wgsl's `forward` in the form of attention_tile.wgsl.
//
// Grid: ceil(Tq (H / K) / rows) by K, the workgroups of the last rows first: a document's last queries see most keys.
// The sums stay in registers, not normalised until the end. Trips per invocation for ranges of n keys:
// ceil(n / 64) (1 + ceil(D / 32) (1 + DEEP + staging) + 64 / PART (1 + PART / 4 + staging)), see tests/ops/trips.rs.

#import attention_tile

const FOLD_STRIDE = 17u; // 16 values of a row and their result
override FOLD = 544u; // FOLD_STRIDE rows

var<workgroup> fold: array<f32, FOLD>;

fn fold_at(place: Place, m: u32) -> u32 {
    return (place.y + TALL * m) * FOLD_STRIDE;
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
        var s: Scores;
        for (var d = 0u; d < quads(); d += DEEP) {
            workgroupBarrier();
            stage_q(of_rows(place, pairs(), d), place);
            stage_k(of_block(key, range.y, d), place);
            workgroupBarrier();
            multiply(place, &s);
        }
        for (var m = 0u; m < EACH; m++) {
            s[m] = select(vec4(2.0 * NONE), scored(s[m]), within(key + 4u * place.x, bounds[m].x, bounds[m].y));
            fold[fold_at(place, m) + place.x] = max(max(s[m].x, s[m].y), max(s[m].z, s[m].w));
        }
        workgroupBarrier();
        if index < rows() {
            var most = fold[index * FOLD_STRIDE];
            for (var x = 1u; x < WIDE; x++) {
                most = max(most, fold[index * FOLD_STRIDE + x]);
            }
            fold[index * FOLD_STRIDE + WIDE] = most;
        }
        workgroupBarrier();
        for (var m = 0u; m < EACH; m++) {
            let now = max(top[m], fold[fold_at(place, m) + WIDE]);
            let keep = exp(top[m] - now);
            top[m] = now;
            s[m] = select(exp(s[m] - now), vec4<f32>(), s[m] < vec4(NONE));
            total[m] = total[m] * keep + (s[m].x + s[m].y) + (s[m].z + s[m].w);
            for (var slot = 0u; slot < SLOTS; slot++) {
                sums[m][slot] *= keep;
            }
        }
        put(place, &s);
        for (var part = 0u; part < WALK; part += PART) {
            stage_v(of_part(key + part, range.y), place);
            workgroupBarrier();
            add_part(place, part, &sums);
            workgroupBarrier();
        }
    }
    for (var m = 0u; m < EACH; m++) {
        fold[fold_at(place, m) + place.x] = total[m];
    }
    workgroupBarrier();
    if index < rows() {
        var sum = 0.0;
        for (var x = 0u; x < WIDE; x++) {
            sum += fold[index * FOLD_STRIDE + x];
        }
        fold[index * FOLD_STRIDE + WIDE] = sum;
    }
    workgroupBarrier();
    for (var m = 0u; m < EACH; m++) {
        let f = place.first + place.y + TALL * m;
        if f < pairs() {
            let at = pair(f, place.head_kv);
            let sum = fold[fold_at(place, m) + WIDE];
            if place.x == 0u {
                lse[at] = select(NONE, top[m] + log(sum), sum > 0.0);
            }
            let part = select(0.0, 1.0 / sum, sum > 0.0);
            for (var slot = 0u; slot < SLOTS; slot++) {
                let d = slot * WIDE + place.x;
                if d < quads() {
                    o[at * quads() + d] = sums[m][slot] * part;
                }
            }
        }
    }
}
