// Attention in registers, for software drivers: no workgroup memory, no barriers.
//
// An invocation owns ROWS rows of a kv head, STEP apart, and walks over the other side 16 places at a time, the tile of
// scores in registers. A row or place of queries is a pair of query and head, see lib/attention.wgsl. A loop makes one
// product: two at a time compete for registers, and the software driver is the slower for it.
//
// The file that imports this sets ROWS, STEP and THREADS, invocations of a workgroup, and says which rows an invocation owns
// and where it walks: own, keys_seen, pairs_seeing and next_place.

#import attention

alias Rows = array<u32, ROWS>; // something per row

struct Mine {
    head_kv: u32,
    block: u32, // the first row of the workgroup
    first: u32, // that of the invocation
}

// Workgroups in an order in which any run of them is about as much work as any other of its length: from both ends in turn.
// Software drivers give each thread a run of them.
fn balanced(group: u32, groups: u32) -> u32 {
    return select(group / 2u, groups - 1u - group / 2u, group % 2u == 1u);
}

// The last pair stands for those past the end.
fn some_pair(f: u32, head_kv: u32) -> u32 {
    return pair(min(f, pairs() - 1u), head_kv);
}

fn kv_head(j: u32, head: u32) -> u32 {
    return (min(j, params.kv_len - 1u) * params.kv_heads + head) * quads();
}

fn q_heads_at(f: u32, head_kv: u32) -> vec4<u32> {
    let at = min(f + FEW, vec4(pairs() - 1u));
    return vec4(pair(at.x, head_kv), pair(at.y, head_kv), pair(at.z, head_kv), pair(at.w, head_kv)) * quads();
}

fn kv_heads_at(j: u32, head: u32) -> vec4<u32> {
    return (min(j + FEW, vec4(params.kv_len - 1u)) * params.kv_heads + head) * quads();
}

// Four rows of an array as the columns of a matrix.
fn q_block(heads: vec4<u32>, d: u32) -> mat4x4<f32> {
    return mat4x4(q[heads.x + d], q[heads.y + d], q[heads.z + d], q[heads.w + d]);
}

fn k_block(heads: vec4<u32>, d: u32) -> mat4x4<f32> {
    return mat4x4(k[heads.x + d], k[heads.y + d], k[heads.z + d], k[heads.w + d]);
}

fn v_block(heads: vec4<u32>, d: u32) -> mat4x4<f32> {
    return mat4x4(v[heads.x + d], v[heads.y + d], v[heads.z + d], v[heads.w + d]);
}

fn dout_block(heads: vec4<u32>, d: u32) -> mat4x4<f32> {
    return mat4x4(dout[heads.x + d], dout[heads.y + d], dout[heads.z + d], dout[heads.w + d]);
}

// Sixteen of them.
fn q_blocks(heads: ptr<function, array<vec4<u32>, 4>>, d: u32) -> array<mat4x4<f32>, 4> {
    return array(q_block((*heads)[0], d), q_block((*heads)[1], d), q_block((*heads)[2], d), q_block((*heads)[3], d));
}

fn k_blocks(heads: ptr<function, array<vec4<u32>, 4>>, d: u32) -> array<mat4x4<f32>, 4> {
    return array(k_block((*heads)[0], d), k_block((*heads)[1], d), k_block((*heads)[2], d), k_block((*heads)[3], d));
}

fn v_blocks(heads: ptr<function, array<vec4<u32>, 4>>, d: u32) -> array<mat4x4<f32>, 4> {
    return array(v_block((*heads)[0], d), v_block((*heads)[1], d), v_block((*heads)[2], d), v_block((*heads)[3], d));
}

fn dout_blocks(heads: ptr<function, array<vec4<u32>, 4>>, d: u32) -> array<mat4x4<f32>, 4> {
    return array(dout_block((*heads)[0], d), dout_block((*heads)[1], d), dout_block((*heads)[2], d), dout_block((*heads)[3], d));
}

// Forward.
//
// o[i,h] = sum_j p_ij v[j,h'],   p_ij = exp(s_ij - lse[i,h]),   s_ij = softcap(scale q[i,h].k[j,h']),   h' = floor(h K / H),
// over the keys spans[i].x <= j < spans[i].y of the window, with lse[i,h] the logarithm of what makes the p_ij add up to
// 1; softcap(s) = cap tanh(s / cap), or s without cap.
//
// An invocation: `tile_rows` pairs of a kv head. After every 16 keys o and the running sum are normalised anew, so (o, lse) is
// the whole state between dispatches. A query that sees no key gets o = 0, lse = -1e30. Trips per invocation
// <= ceil((end - begin) / 16) (1 + 2 ceil(D / 4)).

alias Tile = array<array<vec4<f32>, 4>, ROWS>;

@compute @workgroup_size(THREADS)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let mine = own(group.x, groups.x, thread, params.tile_rows);
    let head_kv = mine.head_kv;
    if STEP == 1u && mine.first >= pairs() {
        return;
    }
    let past = min(pairs(), mine.first + params.tile_rows * STEP);
    let range = keys_seen(mine.block);
    var low: Rows;
    var high: Rows;
    var heads: Rows;
    var top: array<f32, ROWS>; // sum exp(scores so far) = total exp(top)
    var total: array<f32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let row = mine.first + r * STEP;
        let at = some_pair(row, head_kv);
        let i = min(row, pairs() - 1u) / shared_by();
        heads[r] = at * quads();
        low[r] = max(first_key(i), params.begin);
        high[r] = select(0u, min(spans[i].y, params.end), mine.first + r * STEP < past);
        top[r] = NONE;
        if params.accumulate != 0u && mine.first + r * STEP < past {
            top[r] = lse[at];
            total[r] = select(0.0, 1.0, top[r] > NONE);
        }
    }
    var key = next_place(range.x, range.y, &low, &high);
    loop {
        var keys: array<vec4<u32>, 4>;
        for (var c = 0u; c < 4u; c++) {
            keys[c] = kv_heads_at(key + c * 4u, head_kv);
        }
        var s: Tile;
        for (var d = 0u; d < quads(); d++) {
            let kd = k_blocks(&keys, d);
            for (var r = 0u; r < ROWS; r++) {
                let qd = q[heads[r] + d];
                for (var c = 0u; c < 4u; c++) {
                    s[r][c] += qd * kd[c];
                }
            }
        }
        var keep: array<f32, ROWS>; // what remains of o
        for (var r = 0u; r < ROWS; r++) {
            var most = vec4(NONE);
            for (var c = 0u; c < 4u; c++) {
                s[r][c] = select(vec4(2.0 * NONE), scored(s[r][c]), within(key + c * 4u, low[r], high[r]));
                most = max(most, s[r][c]);
            }
            let now = max(top[r], max(max(most.x, most.y), max(most.z, most.w)));
            var added = vec4<f32>();
            for (var c = 0u; c < 4u; c++) {
                s[r][c] = select(exp(s[r][c] - now), vec4<f32>(), s[r][c] < vec4(NONE));
                added += s[r][c];
            }
            let old = total[r] * exp(top[r] - now);
            top[r] = now;
            total[r] = old + (added.x + added.y) + (added.z + added.w);
            let part = select(0.0, 1.0 / total[r], total[r] > 0.0);
            keep[r] = old * part;
            for (var c = 0u; c < 4u; c++) {
                s[r][c] *= part;
            }
        }
        for (var d = 0u; d < quads(); d++) {
            let vd = v_blocks(&keys, d);
            for (var r = 0u; r < ROWS; r++) {
                if mine.first + r * STEP < past {
                    // Where nothing remains, o may hold anything, NaN too.
                    var od = select(vec4<f32>(), o[heads[r] + d] * keep[r], keep[r] > 0.0);
                    for (var c = 0u; c < 4u; c++) {
                        od += vd[c] * s[r][c];
                    }
                    o[heads[r] + d] = od;
                }
            }
        }
        key = next_place(key + 16u, range.y, &low, &high);
        if key >= range.y {
            break;
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        if mine.first + r * STEP < past {
            lse[pair(mine.first + r * STEP, head_kv)] = select(NONE, top[r] + log(total[r]), total[r] > 0.0);
        }
    }
}

// Backward.
//
// With p_ij as in the forward pass, g_ij = dout[i,h].v[j,h'] and delta[i,h] = sum_d o dout:
//
//   ds_ij = p_ij (g_ij - delta_i) softcap'(scale q_i.k_j) scale,
//   dq_i = sum_j ds_ij k_j,   dk_j = sum_i ds_ij q_i,   dv_j = sum_i p_ij dout_i
//
// p is computed anew from lse, in backward_q and again in backward_kv: no atomics, a fixed order of sums.

// An invocation: ROWS pairs of a kv head. Trips <= ceil((end - begin) / 16) (1 + 3 ceil(D / 4)).
@compute @workgroup_size(THREADS)
fn backward_q(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let mine = own(group.x, groups.x, thread, ROWS);
    let head_kv = mine.head_kv;
    if STEP == 1u && mine.first >= pairs() {
        return;
    }
    let range = keys_seen(mine.block);
    var low: Rows;
    var high: Rows;
    var heads: Rows;
    var stat: array<vec2<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let row = mine.first + r * STEP;
        let at = some_pair(row, head_kv);
        let i = min(row, pairs() - 1u) / shared_by();
        heads[r] = at * quads();
        low[r] = max(first_key(i), params.begin);
        high[r] = select(0u, min(spans[i].y, params.end), mine.first + r * STEP < pairs());
        stat[r] = stats[at];
    }
    var fresh = params.accumulate == 0u;
    var key = next_place(range.x, range.y, &low, &high);
    loop {
        var keys: array<vec4<u32>, 4>;
        for (var c = 0u; c < 4u; c++) {
            keys[c] = kv_heads_at(key + c * 4u, head_kv);
        }
        var s: Tile;
        var g: Tile;
        for (var d = 0u; d < quads(); d++) {
            let kd = k_blocks(&keys, d);
            for (var r = 0u; r < ROWS; r++) {
                let qd = q[heads[r] + d];
                for (var c = 0u; c < 4u; c++) {
                    s[r][c] += qd * kd[c];
                }
            }
        }
        for (var d = 0u; d < quads(); d++) {
            let vd = v_blocks(&keys, d);
            for (var r = 0u; r < ROWS; r++) {
                let gd = dout[heads[r] + d];
                for (var c = 0u; c < 4u; c++) {
                    g[r][c] += gd * vd[c];
                }
            }
        }
        for (var r = 0u; r < ROWS; r++) {
            for (var c = 0u; c < 4u; c++) {
                let seen = within(key + c * 4u, low[r], high[r]);
                let score = scored(s[r][c]);
                let p = select(vec4<f32>(), exp(score - stat[r].x), seen);
                s[r][c] = p * (g[r][c] - stat[r].y) * slope(score);
            }
        }
        for (var d = 0u; d < quads(); d++) {
            let kd = k_blocks(&keys, d);
            for (var r = 0u; r < ROWS; r++) {
                if mine.first + r * STEP < pairs() {
                    let old = select(dq[heads[r] + d], vec4<f32>(), fresh);
                    dq[heads[r] + d] = old + kd[0] * s[r][0] + kd[1] * s[r][1] + kd[2] * s[r][2] + kd[3] * s[r][3];
                }
            }
        }
        fresh = false;
        key = next_place(key + 16u, range.y, &low, &high);
        if key >= range.y {
            break;
        }
    }
}

// An invocation: ROWS keys of a kv head, over the pairs of queries j <= i < ends[j] of the window, so queries and keys must
// be the same tokens (Tq = Tk). Trips <= ceil((end - begin) (H / K) / 16) (1 + 4 ceil(D / 4)).
@compute @workgroup_size(THREADS)
fn backward_kv(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let mine = own(group.x, groups.x, thread, ROWS);
    let head_kv = mine.head_kv;
    if STEP == 1u && mine.first >= params.kv_len {
        return;
    }
    let range = pairs_seeing(mine.block);
    var low: Rows;
    var high: Rows;
    var heads: Rows;
    for (var r = 0u; r < ROWS; r++) {
        let j = min(mine.first + r * STEP, params.kv_len - 1u);
        heads[r] = kv_head(j, head_kv);
        low[r] = max(j, params.begin) * shared_by();
        let unseen = j + min(params.window, params.q_len); // the first query whose window has left key j behind
        high[r] = select(0u, min(min(ends[j], unseen), params.end) * shared_by(), mine.first + r * STEP < params.kv_len);
    }
    var fresh = params.accumulate == 0u;
    var query = next_place(range.x, range.y, &low, &high);
    loop {
        var queries: array<vec4<u32>, 4>;
        for (var c = 0u; c < 4u; c++) {
            queries[c] = q_heads_at(query + c * 4u, head_kv);
        }
        var s: Tile;
        var g: Tile;
        for (var d = 0u; d < quads(); d++) {
            let qd = q_blocks(&queries, d);
            for (var r = 0u; r < ROWS; r++) {
                let kd = k[heads[r] + d];
                for (var c = 0u; c < 4u; c++) {
                    s[r][c] += kd * qd[c];
                }
            }
        }
        for (var d = 0u; d < quads(); d++) {
            let gd = dout_blocks(&queries, d);
            for (var r = 0u; r < ROWS; r++) {
                let vd = v[heads[r] + d];
                for (var c = 0u; c < 4u; c++) {
                    g[r][c] += vd * gd[c];
                }
            }
        }
        for (var c = 0u; c < 4u; c++) {
            let at = queries[c] / quads();
            let stat = transpose(mat4x2(stats[at.x], stats[at.y], stats[at.z], stats[at.w])); // lse, delta
            for (var r = 0u; r < ROWS; r++) {
                let seen = within(query + c * 4u, low[r], high[r]);
                let score = scored(s[r][c]);
                s[r][c] = select(vec4<f32>(), exp(score - stat[0]), seen);
                g[r][c] = s[r][c] * (g[r][c] - stat[1]) * slope(score);
            }
        }
        for (var d = 0u; d < quads(); d++) {
            let qd = q_blocks(&queries, d);
            for (var r = 0u; r < ROWS; r++) {
                if mine.first + r * STEP < params.kv_len {
                    let old = select(dk[heads[r] + d], vec4<f32>(), fresh);
                    dk[heads[r] + d] = old + qd[0] * g[r][0] + qd[1] * g[r][1] + qd[2] * g[r][2] + qd[3] * g[r][3];
                }
            }
        }
        for (var d = 0u; d < quads(); d++) {
            let gd = dout_blocks(&queries, d);
            for (var r = 0u; r < ROWS; r++) {
                if mine.first + r * STEP < params.kv_len {
                    let old = select(dv[heads[r] + d], vec4<f32>(), fresh);
                    dv[heads[r] + d] = old + gd[0] * s[r][0] + gd[1] * s[r][1] + gd[2] * s[r][2] + gd[3] * s[r][3];
                }
            }
        }
        fresh = false;
        query = next_place(query + 16u, range.y, &low, &high);
        if query >= range.y {
            break;
        }
    }
}
