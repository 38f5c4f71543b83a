// Attention in the form of lib/attention_rows.wgsl for software drivers that read once what all invocations of a workgroup
// read alike, as Mesa 26's does: these share their keys (in backward_kv their pairs) and own rows of one kv head in
// turn. No loop's bounds may depend on the invocation. Spans and ends must not decrease from token to token.
//
// Grids: ceil(Tq (H / K) / 64) K, in backward_kv ceil(Tk / 64) K.

#import attention_rows

const ROWS = 8u;
const STEP = 8u;
const THREADS = 8u;

fn own(group: u32, groups: u32, thread: u32, rows: u32) -> Mine {
    let block = balanced(group / params.kv_heads, groups / params.kv_heads) * ROWS * THREADS;
    return Mine(group % params.kv_heads, block, block + thread);
}

fn keys_seen(block: u32) -> vec2<u32> {
    let last = min(block + ROWS * THREADS, pairs()) - 1u;
    return vec2(max(first_key(block / shared_by()), params.begin), min(spans[last / shared_by()].y, params.end));
}

fn pairs_seeing(block: u32) -> vec2<u32> {
    let last = min(block + ROWS * THREADS, params.kv_len) - 1u;
    let past = min(ends[last], last + min(params.window, params.q_len));
    return vec2(max(block, params.begin), min(past, params.end)) * shared_by();
}

fn next_place(x: u32, end: u32, low: ptr<function, Rows>, high: ptr<function, Rows>) -> u32 {
    return x;
}
