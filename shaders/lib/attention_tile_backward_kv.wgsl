// Attention's gradients of keys and values for GPUs: attention.wgsl's `backward_kv` in the form of attention_tile.wgsl.
//
// Rows are keys, places pairs of query and head. Grid: ceil(Tk / rows) by K: a document's first keys are seen by most queries.

#import attention_tile

@compute @workgroup_size(WIDE, TALL)
fn backward_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let place = place_of(group.x, group.y, index);
    var bounds: Bounds; // pairs
    var sums_k: Sums;
    var sums_v: Sums;
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
        var s: Scores;
        var g: Scores;
        for (var d = 0u; d < quads(); d += DEEP) {
            workgroupBarrier();
            stage_k(of_rows(place, params.kv_len, d), place);
            stage_q(of_block(walk, range.y, d), place);
            workgroupBarrier();
            multiply(place, &s);
        }
        for (var d = 0u; d < quads(); d += DEEP) {
            workgroupBarrier();
            stage_v(of_rows(place, params.kv_len, d), place);
            stage_dout(of_block(walk, range.y, d), place);
            workgroupBarrier();
            multiply(place, &g);
        }
        let at = min(vec4(walk + 4u * place.x) + FEW, vec4(pairs() - 1u));
        let head = place.head_kv;
        let few = mat4x2(stats[pair(at.x, head)], stats[pair(at.y, head)], stats[pair(at.z, head)], stats[pair(at.w, head)]);
        let stat = transpose(few); // lse, delta
        for (var m = 0u; m < EACH; m++) {
            let seen = within(walk + 4u * place.x, bounds[m].x, bounds[m].y);
            let score = scored(s[m]);
            s[m] = select(vec4<f32>(), exp(score - stat[0]), seen);
            g[m] = s[m] * (g[m] - stat[1]) * slope(score);
        }
        workgroupBarrier();
        put(place, &s);
        for (var part = 0u; part < WALK; part += PART) {
            stage_dout(of_part(walk + part, range.y), place);
            workgroupBarrier();
            add_part(place, part, &sums_v);
            workgroupBarrier();
        }
        put(place, &g);
        for (var part = 0u; part < WALK; part += PART) {
            stage_q(of_part(walk + part, range.y), place);
            workgroupBarrier();
            add_part(place, part, &sums_k);
            workgroupBarrier();
        }
    }
    for (var m = 0u; m < EACH; m++) {
        let j = place.first + place.y + TALL * m;
        for (var slot = 0u; slot < SLOTS; slot++) {
            let d = slot * WIDE + place.x;
            if j < params.kv_len && d < quads() {
                let at = (j * params.kv_heads + place.head_kv) * quads() + d;
                var old_k = vec4<f32>();
                var old_v = vec4<f32>();
                if params.accumulate != 0u {
                    old_k = dk[at];
                    old_v = dv[at];
                }
                dk[at] = old_k + sums_k[m][slot];
                dv[at] = old_v + sums_v[m][slot];
            }
        }
    }
}
