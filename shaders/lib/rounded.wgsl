// Sums that go to gradients in bfloat16.
//
// Rounded by chance, or what is added to a large gradient in many small parts would be lost: drawn anew for every number,
// every sum that is added to it (`salt`) and every pass, however the sum is dispatched.

#import bf16
#import pcg
#import pcg4

@group(0) @binding(7) var<storage, read> keys: array<u32>; // of the tokens of the pass; the first is its own

// `place`: of these four in the gradient.
fn rounded(sum: vec4<f32>, place: u32, salt: u32) -> vec2<u32> {
    let seed = pcg(pcg(pcg(keys[0]) + salt) + place);
    return narrowed(sum, pcg4(vec4(seed) + vec4(0u, 1u, 2u, 3u)));
}
