// Attention forward by matrix units: attention.wgsl's `forward` in the form of attention_coop.wgsl.
//
// Grid as in attention_tile_forward.wgsl.

#import attention_squares

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
        var s: Scores;
        take(place, &squares, &s);
        var now: array<f32, EACH>;
        for (var m = 0u; m < EACH; m++) {
            let seen = within(key + 4u * place.x, bounds[m].x, bounds[m].y);
            s[m] = select(vec4(2.0 * NONE), scored(s[m]), seen);
            now[m] = max(max(s[m].x, s[m].y), max(s[m].z, s[m].w));
        }
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
        take_sums(place, &squares, 1.0, &sums);
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
