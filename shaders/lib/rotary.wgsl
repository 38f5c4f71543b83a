// Which channels turn together, and by how much. Tables come from the host, because a GPU's own cos and sin are only good to
// 2^-11 and only within [-pi, pi].

@group(0) @binding(2) var<storage, read> positions: array<u32>; // [T]
@group(0) @binding(3) var<storage, read> cosines: array<Numbers>; // [positions, R / 2]
@group(0) @binding(4) var<storage, read> sines: array<Numbers>;

const NEIGHBOURS = 8u; // invocations that share a head

// Of a pair within its head: first the pairs that turn, then two neighbours each of those that stay.
fn channels(pair: u32) -> vec2<u32> {
    if pair < params.half / WIDTH {
        return vec2(pair, pair + params.half / WIDTH);
    }
    return vec2(2u * pair, 2u * pair + 1u);
}

struct Angle {
    cosine: Numbers,
    sine: Numbers,
}

fn angle(token: u32, pair: u32) -> Angle {
    let half = params.half / WIDTH;
    var turn = Angle(Numbers(1.0), Numbers());
    if pair < half {
        let at = positions[token] * half + pair;
        turn = Angle(cosines[at], sines[at]);
    }
    return turn;
}
