// Sums that go to gradients held as bfloat16.
//
// Rounded by chance, or what is added to a large gradient in many small parts would be lost. The sum's own bits say which
// way, with the place of the number: the same sums give the same bits, however they were dispatched.

#import bf16
#import pcg
#import pcg4

// `place`: of these four in the gradient.
fn rounded(sum: vec4<f32>, place: u32) -> vec2<u32> {
    return narrowed(sum, pcg4(bitcast<vec4<u32>>(sum) + pcg(place) + vec4(0u, 1u, 2u, 3u)));
}
