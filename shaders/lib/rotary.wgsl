// Which channels turn together, and by how much. Tables come from the host, because a GPU's own cos and sin are only good to
// 2^-11 and only within [-pi, pi].

@group(0) @binding(2) var<storage, read> positions: array<u32>; // [T]
@group(0) @binding(3) var<storage, read> cosines: array<Numbers>; // [positions, R / 2]
@group(0) @binding(4) var<storage, read> sines: array<Numbers>;

const NEIGHBOURS = 8u; // invocations that share a head

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
