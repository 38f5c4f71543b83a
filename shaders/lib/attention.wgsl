// What every form of attention works on: see attention.wgsl for the mathematics.

#import softcap

struct Params {
    q_len: u32, // Tq
    kv_len: u32, // Tk
    q_heads: u32, // H, a multiple of K
    kv_heads: u32, // K
    head_dim: u32, // D, a multiple of 4
    begin: u32, // forward, backward_q: only keys begin <= j < end count; backward_kv: only such queries
    end: u32, // <= kv_len (backward_kv: q_len)
    accumulate: u32, // forward: carry on from o and lse; backward: add to the gradients. 0: overwrite
    tile_rows: u32, // forward: pairs per invocation, 8; fewer for decoding: those of a query, for queries' keys lie far apart
    window: u32, // keys that a query sees at most, its own included; 2^32 - 1: all of its span
    scale: f32,
    cap: f32, // scores become cap tanh(score / cap); 0: as they are
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> o: array<vec4<f32>>;

@group(0) @binding(0) var<storage, read> out: array<vec4<f32>>; // o again, for backward_delta
@group(0) @binding(3) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dq: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dv: array<vec4<f32>>;

@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // [Tq, H]
@group(0) @binding(4) var<storage, read> stats: array<vec2<f32>>; // [Tq, H]: lse, delta
@group(0) @binding(5) var<storage, read> spans: array<vec2<u32>>; // [Tq]
@group(0) @binding(5) var<storage, read> ends: array<u32>; // [Tk]
@group(0) @binding(1) var<storage, read> out_lse: array<f32>; // lse again, for backward_delta
@group(0) @binding(2) var<storage, read_write> new_stats: array<vec2<f32>>; // stats again, for backward_delta

const FEW = vec4(0u, 1u, 2u, 3u);
const NONE = -1e30; // what a query that sees no key has for lse

// Groups of four numbers in a head.
fn quads() -> u32 {
    return params.head_dim / 4u;
}

// Query heads of a kv head.
fn shared_by() -> u32 {
    return params.q_heads / params.kv_heads;
}

// Pairs of a query and one of the query heads that share a kv head, f = i (H / K) + h: consecutive in memory.
fn pairs() -> u32 {
    return params.q_len * shared_by();
}

// Where pair f begins, in heads; such are also the entries of lse and stats.
fn pair(f: u32, head_kv: u32) -> u32 {
    return f / shared_by() * params.q_heads + head_kv * shared_by() + f % shared_by();
}

// Which of x .. x + 4 lie in low <= x < high.
fn within(x: u32, low: u32, high: u32) -> vec4<bool> {
    return (x + FEW >= vec4(low)) & (x + FEW < vec4(high));
}

// The first key that query i sees, by its span and the window.
fn first_key(i: u32) -> u32 {
    let span = spans[i];
    return max(span.x, span.y - min(params.window, span.y));
}

// Scores as softmax takes them, from the products of queries and keys.
fn scored(products: vec4<f32>) -> vec4<f32> {
    let s = products * params.scale;
    let cap = params.cap;
    if cap == 0.0 {
        return s;
    }
    return vec4(softcap(s.x, cap), softcap(s.y, cap), softcap(s.z, cap), softcap(s.w, cap));
}

// Derivative of `scored` where its value is s.
fn slope(s: vec4<f32>) -> vec4<f32> {
    let cap = params.cap;
    if cap == 0.0 {
        return vec4(params.scale);
    }
    let t = s / cap;
    return params.scale * (1.0 - t * t);
}
