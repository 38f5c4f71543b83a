// Attention: causal, grouped-query, over packed documents, nothing of size [T, T] in memory (flash form, Dao et al. 2022).
//
//   q, o: [Tq, H D]   k, v: [Tk, K D]   lse: [Tq, H]   spans: [Tq], query i sees keys spans[i].x <= j < spans[i].y
//
// In training spans[i] = (start of i's document, i + 1); in decoding the rows of its sequence's cache. Either way the last
// key that a query sees is its own, so a window leaves the last `window` keys of its span.
//
// The kernels are those of lib/attention_rows.wgsl. Neighbouring invocations own the same rows of neighbouring heads, so
// that all of them see the same keys and nothing is computed for a document that ended. Grids: ceil(n K / 32), with
// n = ceil(Tq (H / K) / tile_rows) in forward, ceil(Tq (H / K) / 8) in backward_q, ceil(Tk / 8) in backward_kv. Newer
// software drivers have a form of their own, see attention_registers.wgsl; GPUs others, see lib/attention_group.wgsl.

#import attention_rows

const ROWS = 8u;
const STEP = 1u;
const THREADS = 32u;

fn own(group: u32, groups: u32, thread: u32, rows: u32) -> Mine {
    let index = balanced(group, groups) * THREADS + thread;
    let first = index / params.kv_heads * rows;
    return Mine(index % params.kv_heads, first, first);
}

fn keys_seen(block: u32) -> vec2<u32> {
    return vec2(0u, params.end);
}

fn pairs_seeing(block: u32) -> vec2<u32> {
    return vec2(0u, params.end * shared_by());
}

// The first place from `x` on that one of the invocation's rows needs; `end` where there is none.
fn next_place(x: u32, end: u32, low: ptr<function, Rows>, high: ptr<function, Rows>) -> u32 {
    var next = end;
    for (var r = 0u; r < ROWS; r++) {
        let first = max(x, (*low)[r]);
        next = select(next, min(next, first), first < (*high)[r]);
    }
    return next;
}

// stats[i,h] = (lse, delta); grid = ceil(Tq H / 32), ceil(D / 4) trips. Packed so that backward_kv binds 8 buffers.
@compute @workgroup_size(32)
fn backward_delta(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x * THREADS + thread;
    if index < params.q_len * params.q_heads {
        var delta = 0.0;
        for (var d = 0u; d < quads(); d++) {
            delta += dot(out[index * quads() + d], dout[index * quads() + d]);
        }
        new_stats[index] = vec2(out_lse[index], delta);
    }
}
