// Numbers from 0 to 1 as one of 127 << FINER levels between (dynamic data types, Dettmers 2015, as bitsandbytes builds them):
// seven decades, each twice as fine as the one below; a decade's levels are the middles of equal parts of 0.1 to 1 of it.
//
// Level -1 is 0, level 127 << finer is 1.

const DECADES = array<f32, 7>(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0);

fn level(j: i32, finer: u32) -> f32 {
    if j < 0 {
        return 0.0;
    }
    let above = (u32(j) >> finer) + 1u;
    if above > 127u {
        return 1.0;
    }
    let decade = firstLeadingBit(above);
    let parts = 1u << (decade + finer);
    let part = u32(j) + (1u << finer) - parts;
    return DECADES[decade] * (0.1 + 0.9 * (f32(part) + 0.5) / f32(parts));
}

// The highest level that is at most `y`.
fn level_below(y: f32, finer: u32) -> i32 {
    let passed = vec3<u32>(vec3(y) >= vec3(1e-6, 1e-5, 1e-4)) + vec3<u32>(vec3(y) >= vec3(1e-3, 1e-2, 1e-1));
    let decade = passed.x + passed.y + passed.z;
    let parts = 1u << (decade + finer);
    let part = (y / DECADES[decade] - 0.1) / 0.9 * f32(parts);
    let near = i32(parts - (1u << finer) + u32(clamp(part, 0.0, f32(parts) - 1.0)));
    // The middle of that part may lie above, and division rounds.
    let low = near - i32(level(near, finer) > y);
    return low + i32(level(low + 1, finer) <= y);
}

// Of -1 to 1, in order: 0 to 126 below 0, 127 for 0, 255 for 1. There is none for -1.
fn signed_value(code: u32) -> f32 {
    let j = i32(code) - 128;
    return select(level(j, 0u), -level(-2 - j, 0u), j < -1);
}

// The nearest code.
fn signed_code(y: f32) -> u32 {
    let low = level_below(abs(y), 0u);
    let up = abs(y) - level(low, 0u) > level(low + 1, 0u) - abs(y);
    let j = low + i32(up && low < 127);
    return u32(select(128 + j, max(126 - j, 0), y < 0.0));
}

// Of 0 to 1.
fn unsigned_value(code: u32) -> f32 {
    return level(i32(code) - 1, 1u);
}

// One of the two codes around `y`, each with the probability that makes it right on average; but what is above 0 stays so.
// `random`: from 0 to 1.
fn unsigned_code(y: f32, random: f32) -> u32 {
    let low = level_below(y, 1u);
    let up = y - level(low, 1u) > random * (level(low + 1, 1u) - level(low, 1u));
    return u32(low + 1 + i32(low < 254 && (up || (low < 0 && y > 0.0))));
}
