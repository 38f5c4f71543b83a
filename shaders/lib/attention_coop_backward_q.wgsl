// Attention's gradient of queries by matrix units: attention.wgsl's `backward_q` in the form of attention_coop.wgsl.
//
// Grid as in attention_tile_backward_q.wgsl.

#import attention_coop_backward

@compute @workgroup_size(WIDE, TALL)
fn backward_q(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let place = place_of(groups.x - 1u - group.x, group.y, index);
    var bounds: Bounds;
    var stat: array<vec2<f32>, EACH>;
    var sums: Sums;
    let gain = gain_of(place, place.first, pairs());
    for (var m = 0u; m < EACH; m++) {
        let f = place.first + place.y + TALL * m;
        bounds[m] = keys_of(f);
        stat[m] = stats[pair(min(f, pairs() - 1u), place.head_kv)];
    }
    let range = range_of(place, &bounds);
    for (var key = range.x; key < range.y; key += WALK) {
        var squares: Squares;
        var s: Scores;
        var g: Scores;
        clear(&squares);
        for (var d = 0u; d < quads(); d += DEEP) {
            workgroupBarrier();
            stage_q(of_rows(place, pairs(), d), place);
            stage_k(of_block(key, range.y, d), place);
            workgroupBarrier();
            multiply(place, &squares);
        }
        take(place, &squares, &s);
        clear(&squares);
        for (var d = 0u; d < quads(); d += DEEP) {
            workgroupBarrier();
            stage_gained_dout(of_rows(place, pairs(), d), place, gain);
            stage_v(of_block(key, range.y, d), place);
            workgroupBarrier();
            multiply(place, &squares);
        }
        take(place, &squares, &g);
        for (var m = 0u; m < EACH; m++) {
            let seen = within(key + 4u * place.x, bounds[m].x, bounds[m].y);
            let score = scored(s[m]);
            let p = select(vec4<f32>(), exp(score - stat[m].x), seen);
            let ds = p * (g[m] - gain * stat[m].y) * slope(score);
            put_staged((place.y + TALL * m) * SCORE_STRIDE + place.x, ds);
        }
        clear(&squares);
        for (var part = 0u; part < WALK; part += PART) {
            stage_k(of_part(key + part, range.y), place);
            workgroupBarrier();
            add_part(place, part, &squares);
            workgroupBarrier();
        }
        take_sums(place, &squares, 1.0 / gain, &sums);
    }
    for (var m = 0u; m < EACH; m++) {
        let f = place.first + place.y + TALL * m;
        for (var slot = 0u; slot < SLOTS; slot++) {
            let d = slot * WIDE + place.x;
            if f < pairs() && d < quads() {
                let at = pair(f, place.head_kv) * quads() + d;
                var old = vec4<f32>();
                if params.accumulate != 0u {
                    old = dq[at];
                }
                dq[at] = old + sums[m][slot];
            }
        }
    }
}
