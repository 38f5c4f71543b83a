// Sums of squares, the clipping that follows, and the step of what is held as f32: see lib/adamw.wgsl.

#import adamw_weight_f32
#import adamw_moments_f32
#import adamw_squares
#import adamw_step

@group(0) @binding(3) var<storage, read_write> norm: array<f32>; // [norm, scale], scale < 0: this norm or an earlier one was not finite

// One workgroup; params.n partial sums. Trips: n / 32, at most 30,518 for 8e9 gradients.
@compute @workgroup_size(LANES)
fn clip(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.n; i += LANES) {
        sum += partials[i];
    }
    let total = sqrt(workgroup_sum(sum, lane));
    if lane == 0u {
        var scale = 1.0;
        let most = schedule[MAX_NORM];
        if most > 0.0 {
            scale = min(1.0, most / (total + 1e-6));
        }
        // Compilers fold comparisons with NaN: look at the exponent's bits.
        if (bitcast<u32>(total) & 0x7f800000u) == 0x7f800000u || norm[1] < 0.0 {
            scale = -1.0;
        }
        norm[0] = total;
        norm[1] = scale;
    }
}
