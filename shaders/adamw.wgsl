// AdamW (Loshchilov & Hutter 2019) with clipping by the global norm, in the order of operations of torch.optim.AdamW:
//   g = grad * scale,  scale = min(1, max_norm / (norm + 1e-6))
//   p = p (1 - lr wd);  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//   p = p - (lr / (1 - b1^t)) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
// A step whose norm is not finite changes nothing, nor do those after it, until the host clears the scale: it may learn of
// the norm only after it has asked for the next step, and the weights stay those of the last good one.

#import grid
#import sum

#import schedule

struct Params {
    n: u32,
    first: u32, // norms: where this tensor's partial sums begin
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> grad: array<f32>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;

const BLOCK = 256u; // values that one invocation squares; a workgroup sums LANES * BLOCK

// partials[first + group] = sum of squares of 8,192 gradients.
@compute @workgroup_size(LANES)
fn square_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = group_index(group, groups);
    var sum = 0.0;
    for (var k = 0u; k < BLOCK; k++) {
        let i = (block * BLOCK + k) * LANES + lane;
        if i < params.n {
            sum += grad[i] * grad[i];
        }
    }
    let total = workgroup_sum(sum, lane);
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

@group(0) @binding(4) var<storage, read_write> weight: array<f32>;
@group(0) @binding(5) var<storage, read_write> moment1: array<f32>;
@group(0) @binding(6) var<storage, read_write> moment2: array<f32>;
@group(0) @binding(7) var<storage, read> clipped: array<f32>; // as `norm`

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
    let lr = schedule[LR];
    let g = grad[i] * scale;
    let m = schedule[BETA1] * moment1[i] + schedule[GAIN1] * g;
    let v = schedule[BETA2] * moment2[i] + schedule[GAIN2] * g * g;
    moment1[i] = m;
    moment2[i] = v;
    let decayed = weight[i] * (1.0 - lr * schedule[WEIGHT_DECAY]);
    weight[i] = decayed - (lr / schedule[CORRECTION1]) * m / (sqrt(v) / schedule[CORRECTION2] + schedule[EPS]);
}
