// Sums of squares, the clipping that follows, and the step of what is f32: see lib/adamw.wgsl.

#import adamw_weight_f32
#import adamw_moments_f32
#import adamw_squares
#import adamw_step

// The step scalars, the end of which nothing else writes.
@group(0) @binding(2) var<storage, read_write> scaling: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>; // [norm, scale, loss scale of this step]; scale < 0: see below

const STOPPED = -1.0; // as a scale: this norm or an earlier one was not finite
const SKIPPED = -2.0; // as a scale: this norm was not finite, and the next may be
const LARGEST = 16777216.0; // that a loss scale grows to

// One workgroup; params.n partial sums. Trips: n / 32, at most 30,518 for 8e9 gradients.
@compute @workgroup_size(LANES)
fn clip(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.n; i += LANES) {
        sum += partials[i];
    }
    let scaled = sqrt(workgroup_sum(sum, lane));
    if lane == 0u {
        let loss_scale = scaling[LOSS_SCALE];
        let total = scaled / loss_scale;
        var scale = 1.0;
        let most = scaling[MAX_NORM];
        if most > 0.0 {
            scale = min(1.0, most / (total + 1e-6));
        }
        scale /= loss_scale;
        // Compilers fold comparisons with NaN: look at the exponent's bits.
        let finite = (bitcast<u32>(total) & 0x7f800000u) != 0x7f800000u;
        if norm[1] == STOPPED || (!finite && loss_scale <= 1.0) {
            scale = STOPPED;
        } else if !finite {
            scale = SKIPPED;
            scaling[LOSS_SCALE] = max(0.5 * loss_scale, 1.0);
            scaling[GOOD_STEPS] = 0.0;
        } else if scaling[GROWTH] > 0.0 {
            let good = scaling[GOOD_STEPS] + 1.0;
            let grows = good >= scaling[GROWTH];
            scaling[LOSS_SCALE] = select(loss_scale, min(2.0 * loss_scale, LARGEST), grows);
            scaling[GOOD_STEPS] = select(good, 0.0, grows);
        }
        norm[0] = total;
        norm[1] = scale;
        norm[2] = loss_scale;
    }
}
