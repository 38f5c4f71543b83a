// Attention's gradients of keys and values by matrix units: attention.wgsl's `backward_kv` in the form of attention_coop.wgsl.
//
// Rows are keys, places pairs of query and head. Grid: ceil(Tk / 64) by K by 2. A workgroup makes the gradient of values
// (z = 0) or that of keys (z = 1), with the scores computed by both: the sums of both at once would fill the registers.

#import attention_coop_backward

@compute @workgroup_size(WIDE, TALL)
fn backward_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let of_keys = group.z == 1u;
    let place = place_of(group.x, group.y, index);
    var bounds: Bounds; // pairs
    var sums: Sums;
    for (var m = 0u; m < EACH; m++) {
        let j = place.first + place.y + TALL * m;
        if j < params.kv_len {
            let unseen = j + min(params.window, params.q_len); // the first query whose window has left key j behind
            let past = min(min(ends[j], unseen), params.end);
            bounds[m] = vec2(max(j, params.begin), past) * shared_by();
        }
    }
    let range = range_of(place, &bounds);
    for (var walk = range.x; walk < range.y; walk += WALK) {
        var squares: Squares;
        var s: Scores;
        var g: Scores;
        let gain = gain_of(place, walk, range.y);
        clear(&squares);
        for (var d = 0u; d < quads(); d += DEEP) {
            workgroupBarrier();
            stage_k(of_rows(place, params.kv_len, d), place);
            stage_q(of_block(walk, range.y, d), place);
            workgroupBarrier();
            multiply(place, &squares);
        }
        take(place, &squares, &s);
        if of_keys {
            clear(&squares);
            for (var d = 0u; d < quads(); d += DEEP) {
                workgroupBarrier();
                stage_v(of_rows(place, params.kv_len, d), place);
                stage_gained_dout(of_block(walk, range.y, d), place, gain);
                workgroupBarrier();
                multiply(place, &squares);
            }
            take(place, &squares, &g);
        }
        let at = min(vec4(walk + 4u * place.x) + FEW, vec4(pairs() - 1u));
        let head = place.head_kv;
        let few = mat4x2(stats[pair(at.x, head)], stats[pair(at.y, head)], stats[pair(at.z, head)], stats[pair(at.w, head)]);
        let stat = transpose(few); // lse, delta
        for (var m = 0u; m < EACH; m++) {
            let seen = within(walk + 4u * place.x, bounds[m].x, bounds[m].y);
            let score = scored(s[m]);
            let p = select(vec4<f32>(), exp(score - stat[0]), seen);
            let ds = p * (g[m] - gain * stat[1]) * slope(score);
            put_staged((place.y + TALL * m) * SCORE_STRIDE + place.x, select(p, ds, of_keys));
        }
        clear(&squares);
        for (var part = 0u; part < WALK; part += PART) {
            let those = of_part(walk + part, range.y);
            if of_keys {
                stage_q(those, place);
            } else {
                stage_gained_dout(those, place, gain);
            }
            workgroupBarrier();
            add_part(place, part, &squares);
            workgroupBarrier();
        }
        take_sums(place, &squares, 1.0 / gain, &sums);
    }
    for (var m = 0u; m < EACH; m++) {
        let j = place.first + place.y + TALL * m;
        for (var slot = 0u; slot < SLOTS; slot++) {
            let d = slot * WIDE + place.x;
            if j < params.kv_len && d < quads() {
                let at = (j * params.kv_heads + place.head_kv) * quads() + d;
                if of_keys {
                    var old = vec4<f32>();
                    if params.accumulate != 0u {
                        old = dk[at];
                    }
                    dk[at] = old + sums[m][slot];
                } else {
                    var old = vec4<f32>();
                    if params.accumulate != 0u {
                        old = dv[at];
                    }
                    dv[at] = old + sums[m][slot];
                }
            }
        }
    }
}
