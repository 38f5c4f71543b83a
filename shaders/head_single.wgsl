// Cross-entropy of one set of logits:
//
//   z = lambda * z_s,   q = softmax(z)
//   loss = logsumexp(z) - (1 - eps) z_y - eps mean(z),   H = logsumexp(z) - sum_v q_v z_v
//   g = w (q - (1 - eps) e_y - eps / V) times the loss scale,   dz_s = lambda g

#import head

// One workgroup per token. Trips: V / 1024 and 80.
@compute @workgroup_size(LANES)
fn statistics(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    if weights[row] == 0.0 {
        clear_stats(row, lane);
        return;
    }
    start_first(lane);
    let target_id = targets[row];
    let lambda = scalars[LAMBDA];
    let scaled = lambda != 1.0;
    var r_strong = START;
    var r = START;
    var best = Best(LOWEST, 0u);
    for (var quad = lane; quad < params.stride / 4u; quad += 2u * LANES) {
        let va = tokens(quad);
        let vb = tokens(quad + LANES);
        let keep_a = others(va, target_id);
        let keep_b = others(vb, target_id);
        let a = select(NONE, strong_quad(row, quad), keep_a);
        let b = select(NONE, strong_quad(row, quad + LANES), keep_b);
        r_strong = push(r_strong, a, b);
        r_strong.sums.w += sum_of(a, keep_a, b, keep_b);
        best = better(better(best, va, a), vb, b);
        if scaled {
            r = push(r, select(NONE, lambda * a, keep_a), select(NONE, lambda * b, keep_b));
        }
    }
    let most = reduce_most(vec4(r_strong.m, r.m, 0.0, 0.0), lane);
    offer_first(best, most.x);
    let sums = reduce_sums(mat3x4(raised(r_strong, most.x).sums, raised(r, most.y).sums, vec4(0.0)), lane);
    if lane == 0u {
        let z_s = strong_at(row, target_id);
        let z = lambda * z_s;
        let all_strong = whole(most.x, sums[0], z_s);
        var all = all_strong;
        if scaled {
            all = whole(most.y, sums[1], z);
        }
        let loss = cross_entropy(all, z, lambda * all_strong.sums.w);
        write_loss(row, all, loss, z - lambda * most.x, lambda * norm_of_others(all), vec2(0.0));
        write_strong(row, all_strong, most.x);
        write_weak(row, 0.0, 0.0, 0.0);
    }
}

// Four logits an invocation; workgroups: (V / 256, n).
@compute @workgroup_size(ROUND)
fn gradients(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
    let quads = params.stride / 4u;
    let quad = group.x * ROUND + lane;
    if quad >= quads {
        return;
    }
    let at = row * quads + quad;
    if weights[row] == 0.0 {
        strong4[at] = vec4(0.0);
        return;
    }
    let lambda = scalars[LAMBDA];
    let z = strong4[at];
    strong4[at] = lambda * gradient_of(row, tokens(quad), lambda * z) * slope(z, params.per_cap_strong);
}
