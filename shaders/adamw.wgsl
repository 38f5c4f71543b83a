// AdamW (Loshchilov & Hutter 2019) with clipping by the global norm, in the order of operations of torch.optim.AdamW:
//   g = grad * scale,  scale = min(1, max_norm / (norm + 1e-6))
//   p = p (1 - lr wd);  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//   p = p - (lr / (1 - b1^t)) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
// A step whose norm is not finite changes nothing, nor do those after it, until the host clears the scale: it may learn of
// the norm only after it has asked for the next step, and the weights stay those of the last good one.

#import grid
#import sum

#import schedule

//
// Four numbers at a time, of as many parameters as lie side by side; zeros between them stay zeros.

struct Params {
    n: u32, // fours of gradients; clip: partial sums
    first: u32, // norms: where this dispatch's partial sums begin
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> grad4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;

const BLOCK = 64u; // fours that one invocation squares; a workgroup sums LANES * BLOCK

// partials[first + group] = sum of squares of 8,192 gradients.
@compute @workgroup_size(LANES)
fn square_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = group_index(group, groups);
    var sum = vec4(0.0);
    for (var k = 0u; k < BLOCK; k++) {
        let i = (block * BLOCK + k) * LANES + lane;
        if i < params.n {
            let g = grad4[i];
            sum += g * g;
        }
    }
    let total = workgroup_sum((sum.x + sum.y) + (sum.z + sum.w), lane);
    if lane == 0u && block * BLOCK * LANES < params.n {
        partials[params.first + block] = total;
    }
}

@group(0) @binding(2) var<storage, read> schedule: array<f32>;
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

@group(0) @binding(4) var<storage, read_write> weight4: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> moment1_4: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> moment2_4: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> clipped: array<f32>; // as `norm`

// Four parameters an invocation: a loop over more costs software drivers twice the time.
@compute @workgroup_size(64)
fn step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    let scale = clipped[1];
    if i >= params.n || scale < 0.0 {
        return;
    }
    let rate = schedule[LR] / schedule[CORRECTION1];
    let kept = 1.0 - schedule[LR] * schedule[WEIGHT_DECAY];
    let g = grad4[i] * scale;
    let m = schedule[BETA1] * moment1_4[i] + schedule[GAIN1] * g;
    let v = schedule[BETA2] * moment2_4[i] + schedule[GAIN2] * g * g;
    moment1_4[i] = m;
    moment2_4[i] = v;
    weight4[i] = weight4[i] * kept - rate * m / (sqrt(v) / schedule[CORRECTION2] + schedule[EPS]);
}
