// What rounding by chance draws in a step: from the step's key and the place of a number among all parameters, whatever
// dispatch steps it.

#import adamw
#import pcg
#import pcg4

// Random words for the i-th four of this dispatch; another `use` draws others.
fn chance(i: u32, use_of: u32) -> vec4<u32> {
    let seed = pcg(pcg(u32(scalars[ROUNDING]) + use_of * 0x9e3779b9u) + params.first + i);
    return pcg4(vec4(seed) + vec4(0u, 1u, 2u, 3u));
}
