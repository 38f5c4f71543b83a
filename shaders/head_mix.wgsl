// Cross-entropy of two sets of logits, mixed:
//
//   z = lambda * z_s + (1 - lambda) * z_w,   q = softmax(z)
//   loss = logsumexp(z) - (1 - eps) z_y - eps mean(z),   H = logsumexp(z) - sum_v q_v z_v
//   g = w (q - (1 - eps) e_y - eps / V) times the loss scale,   dz_s = lambda g,   dz_w = (1 - lambda) g

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
    var r = START;
    var r_strong = START;
    var r_weak = START;
    var best = Best(LOWEST, 0u);
    for (var quad = lane; quad < params.stride / 4u; quad += 2u * LANES) {
        let va = tokens(quad);
        let vb = tokens(quad + LANES);
        let keep_a = others(va, target_id);
        let keep_b = others(vb, target_id);
        let sa = select(NONE, strong_quad(row, quad), keep_a);
        let sb = select(NONE, strong_quad(row, quad + LANES), keep_b);
        let wa = select(NONE, weak_quad(row, quad), keep_a);
        let wb = select(NONE, weak_quad(row, quad + LANES), keep_b);
        r = push(r, lambda * sa + (1.0 - lambda) * wa, lambda * sb + (1.0 - lambda) * wb);
        r_strong.sums.w += sum_of(sa, keep_a, sb, keep_b);
        r_weak.sums.w += sum_of(wa, keep_a, wb, keep_b);
        r_strong = push(r_strong, sa, sb);
        r_weak = push(r_weak, wa, wb);
        best = better(better(best, va, sa), vb, sb);
    }
    let most = reduce_most(vec4(r.m, r_strong.m, r_weak.m, 0.0), lane);
    offer_first(best, most.y);
    let states = mat3x4(raised(r, most.x).sums, raised(r_strong, most.y).sums, raised(r_weak, most.z).sums);
    let sums = reduce_sums(states, lane);
    if lane == 0u {
        let z_s = strong_at(row, target_id);
        let z_w = weak_at(row, turned(row, target_id));
        let z = lambda * z_s + (1.0 - lambda) * z_w;
        let all = whole(most.x, sums[0], z);
        let all_strong = whole(most.y, sums[1], z_s);
        let all_weak = whole(most.z, sums[2], z_w);
        let loss = cross_entropy(all, z, lambda * all_strong.sums.w + (1.0 - lambda) * all_weak.sums.w);
        write_loss(row, all, loss, z - most.x, lambda * norm_of_others(all), vec2(0.0));
        write_strong(row, all_strong, most.y);
        write_weak(row, entropy(all_weak), z_w, all_weak.sums.w / f32(params.vocab));
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
        weak4[at] = vec4(0.0);
        return;
    }
    let lambda = scalars[LAMBDA];
    let z_s = strong4[at];
    let z_w = weak4[at];
    let g = gradient_of(row, tokens(quad), lambda * z_s + (1.0 - lambda) * z_w);
    strong4[at] = lambda * g * slope(z_s, params.per_cap_strong);
    weak4[at] = (1.0 - lambda) * g * slope(z_w, params.per_cap_weak);
}

// As `gradients`, where weak logits are turned. One invocation per logit; workgroups: (V / 64, n).
@compute @workgroup_size(ROUND)
fn gradients_turned(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let v = group.x * ROUND + lane;
    let row = group.y;
    if v >= params.vocab {
        return;
    }
    let i = row * params.stride + v;
    let j = row * params.stride + turned(row, v);
    let wanted = weights[row] != 0.0;
    let lambda = scalars[LAMBDA];
    let z = vec4(strong[i], weak[j], 0.0, 0.0);
    let g = gradient_of(row, vec4(v), vec4(lambda * z.x + (1.0 - lambda) * z.y)).x;
    strong[i] = select(0.0, lambda * g * slope(z, params.per_cap_strong).x, wanted);
    weak[j] = select(0.0, (1.0 - lambda) * g * slope(z, params.per_cap_weak).y, wanted);
}

// Puts in place of the weak logits of a row some of the same entropy and no content: a >= 0 at the token `offsets`, 0
// elsewhere. With s = 1 + (V - 1) e^-a their entropy is ln s + a (s - 1) / s, which falls from ln V to 0 as a grows.
// One workgroup per token. Trips: 2 V / 512 + 128.
@compute @workgroup_size(LANES)
fn synthesize(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    let quads = params.stride / 4u;
    var r = START;
    for (var quad = lane; quad < quads; quad += LANES) {
        let v = tokens(quad);
        r = push(r, select(NONE, weak4[row * quads + quad], v < vec4(params.vocab)), NONE);
    }
    let most = reduce_most(vec4(r.m), lane).x;
    let sums = reduce_sums(mat3x4(raised(r, most).sums, vec4(0.0), vec4(0.0)), lane);
    let wanted = entropy(Running(most, sums[0]));
    var low = 0.0;
    var high = 100.0;
    for (var i = 0u; i < 48u; i++) {
        let a = 0.5 * (low + high);
        let rest = f32(params.vocab - 1u) * exp(-a);
        if log(1.0 + rest) + a * rest / (1.0 + rest) > wanted {
            low = a;
        } else {
            high = a;
        }
    }
    for (var quad = lane; quad < quads; quad += LANES) {
        weak4[row * quads + quad] = select(vec4(0.0), vec4(high), tokens(quad) == vec4(offsets[row]));
    }
}
