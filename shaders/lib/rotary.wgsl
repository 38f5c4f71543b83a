// Which channels turn together, and by how much. Tables come from the host, because a GPU's own cos and sin are only good to
// 2^-11 and only within [-pi, pi].
//
// Eight neighbours take four heads of a token, so that they read the angles, and what else the heads have in common, once for
// them. Where there are fewer, the last head stands in for those that are missing, as rows do in lib/rms_norm.wgsl.

@group(0) @binding(2) var<storage, read> positions: array<u32>; // [T]
@group(0) @binding(3) var<storage, read> cosines: array<Numbers>; // [positions, R / 2]
@group(0) @binding(4) var<storage, read> sines: array<Numbers>;

const NEIGHBOURS = 8u; // invocations that share heads
const HEADS = 4u; // of an invocation
const PARTS = 4u; // of a workgroup, of HEADS heads each

// A part of the heads of a token.
struct Part {
    index: u32, // among all parts
    base: u32, // where its heads begin
    last: u32, // of its heads; the others are stand-ins
    turning: u32, // pairs of a head, and all its channels; none for a part without heads
    all: u32,
}

fn part(group: vec3<u32>, y: u32) -> Part {
    let index = group.x * PARTS + y;
    let parts = (params.heads + HEADS - 1u) / HEADS;
    let there = index < parts;
    let first = min(index, parts - 1u) * HEADS;
    let width = params.head_dim / WIDTH;
    let base = (group.y * params.heads + first) * width;
    let last = min(HEADS, params.heads - first) - 1u;
    return Part(group.y * parts + index, base, last, select(0u, params.half / WIDTH, there), select(0u, width, there));
}

// Where its j-th head begins.
fn head(own: Part, j: u32) -> u32 {
    return own.base + min(j, own.last) * (params.head_dim / WIDTH);
}

// The other channel of a pair.
fn other(pair: u32) -> u32 {
    return pair + params.half / WIDTH;
}

struct Angle {
    cosine: Numbers,
    sine: Numbers,
}

// Of a pair of channels that turn: the first R / 2 with those behind them. Loops over channels that stay are apart, since
// a branch within a loop costs CPUs more.
fn angle(token: u32, pair: u32) -> Angle {
    let at = positions[token] * (params.half / WIDTH) + pair;
    return Angle(cosines[at], sines[at]);
}
