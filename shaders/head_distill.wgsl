// Divergence from a teacher's logits (p = softmax(z_s), p^T = softmax(z_s / T), t^T = softmax((z_w - b e_y) / T)):
//
//   loss = a (logsumexp(z_s) - z_sy) + (1 - a) T^2 KL(t^T || p^T)
//   dz_s = w (a (p - e_y) + (1 - a) T (p^T - t^T)) times the loss scale

#import head

const TEMPERATURE = RELATION; // of distilled logits, T
const CE_WEIGHT = RELATION + 1u; // share of the cross-entropy in the loss, a
const TARGET_LOGIT_PENALTY = RELATION + 2u; // by how much the teacher's target logit is lowered, b

// The teacher's logits, the target's lowered.
fn teacher(row: u32, v: vec4<u32>, z: vec4<f32>) -> vec4<f32> {
    return z - select(vec4(0.0), vec4(scalars[TARGET_LOGIT_PENALTY]), v == vec4(targets[row]));
}

// a (p - e_y) + (1 - a) T (p^T - t^T) of a student's and a teacher's logits, given the three logsumexp.
fn distilled(row: u32, v: vec4<u32>, z: vec4<f32>, taught: vec4<f32>, lse: vec3<f32>) -> vec4<f32> {
    let temperature = scalars[TEMPERATURE];
    let ce_weight = scalars[CE_WEIGHT];
    let label = select(vec4(0.0), ONE, v == vec4(targets[row]));
    let soft = exp(z / temperature - lse.y) - exp(taught / temperature - lse.z);
    return ce_weight * (exp(z - lse.x) - label) + (1.0 - ce_weight) * temperature * soft;
}

// Trips: 3 V / 1024 and 120.
@compute @workgroup_size(LANES)
fn statistics(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    if weights[row] == 0.0 {
        clear_stats(row, lane);
        return;
    }
    start_first(lane);
    let target_id = targets[row];
    let temperature = scalars[TEMPERATURE];
    var r = START;
    var r_weak = START;
    var r_student = START;
    var r_teacher = START;
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
        r = push(r, sa, sb);
        r_weak = push(r_weak, wa, wb);
        r_student = push(r_student, sa / temperature, sb / temperature);
        r_teacher = push(r_teacher, wa / temperature, wb / temperature);
        r.sums.w += sum_of(sa, keep_a, sb, keep_b);
        r_weak.sums.w += sum_of(wa, keep_a, wb, keep_b);
        best = better(better(best, va, sa), vb, sb);
    }
    let most = reduce_most(vec4(r.m, r_weak.m, r_student.m, r_teacher.m), lane);
    offer_first(best, most.x);
    let soft = vec4(raised(r_student, most.z).sums.x, raised(r_teacher, most.w).sums.x, 0.0, 0.0);
    let sums = reduce_sums(mat3x4(raised(r, most.x).sums, raised(r_weak, most.y).sums, soft), lane);
    let z_s = strong_at(row, target_id);
    let z_w = weak_at(row, target_id);
    let all = whole(most.x, sums[0], z_s);
    let of_student = whole(most.z, vec4(sums[2].x, 0.0, 0.0, 0.0), z_s / temperature);
    let of_teacher = whole(most.w, vec4(sums[2].y, 0.0, 0.0, 0.0), (z_w - scalars[TARGET_LOGIT_PENALTY]) / temperature);
    let lse = vec3(logsumexp(all), logsumexp(of_student), logsumexp(of_teacher));
    // x: KL(t^T || p^T), y: squared pull.
    var ends = vec4(0.0);
    for (var quad = lane; quad < params.stride / 4u; quad += LANES) {
        let v = tokens(quad);
        let inside = v < vec4(params.vocab);
        let z = select(vec4(0.0), strong_quad(row, quad), inside);
        let taught = teacher(row, v, select(vec4(0.0), weak_quad(row, quad), inside));
        let log_teacher = taught / temperature - lse.z;
        let divergence = exp(log_teacher) * (log_teacher - (z / temperature - lse.y));
        let g = select(vec4(0.0), distilled(row, v, z, taught, lse), others(v, target_id));
        ends += vec4(dot(select(vec4(0.0), divergence, inside), ONE), dot(g, g), 0.0, 0.0);
    }
    let total = reduce_sums(mat3x4(ends, vec4(0.0), vec4(0.0)), lane)[0];
    if lane == 0u {
        let ce_weight = scalars[CE_WEIGHT];
        let all_weak = whole(most.y, sums[1], z_w);
        let loss = ce_weight * (lse.x - z_s) + (1.0 - ce_weight) * temperature * temperature * total.x;
        write_loss(row, all, loss, z_s - most.x, sqrt(total.y), lse.yz);
        write_strong(row, all, most.x);
        write_weak(row, entropy(all_weak), z_w, all_weak.sums.w / f32(params.vocab));
    }
}

// The teacher does not learn: its logits stay.
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
    let at_stats = row * STATS;
    let lse = vec3(stats[at_stats + LOGSUMEXP], stats[at_stats + LOGSUMEXP_STUDENT], stats[at_stats + LOGSUMEXP_TEACHER]);
    let z = strong4[at];
    let v = tokens(quad);
    let g = distilled(row, v, z, teacher(row, v, weak4[at]), lse);
    strong4[at] = weights[row] * scalars[LOSS_SCALE] * g * slope(z, params.per_cap_strong);
}
