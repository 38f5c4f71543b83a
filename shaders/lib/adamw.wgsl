// AdamW (Loshchilov & Hutter 2019) with clipping by the global norm, in the order of operations of torch.optim.AdamW:
//   g = grad * scale,  scale = min(1, max_norm / (norm + 1e-6)) / loss_scale
//   p = p (1 - lr wd);  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//   p = p - (lr / (1 - b1^t)) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
// A step whose norm is not finite changes nothing, nor do those after it, until the host clears the scale: it may learn of
// the norm only after it has asked for the next step, and the weights stay those of the last good one.
//
// Gradients carry a loss scale (Micikevicius et al. 2018), which moves as torch's GradScaler moves it: while it is
// above 1, a step whose norm is not finite changes nothing, halves it and stops no run; after enough good steps it doubles.
//
// Four numbers at a time, of as many parameters as lie side by side; zeros between them stay zeros.

#import grid
#import optimizer_scalars

struct Params {
    n: u32, // fours of gradients; clip: partial sums
    first: u32, // norms: where this dispatch's partial sums begin; steps: fours of parameters before this dispatch's
}

var<immediate> params: Params;

@group(0) @binding(2) var<storage, read> scalars: array<f32>;
@group(0) @binding(7) var<storage, read> clipped: array<f32>; // as `clip` leaves it: [norm, scale, ..]

struct Moved {
    weight: vec4<f32>,
    moment1: vec4<f32>,
    moment2: vec4<f32>,
}

// Four parameters after a step with the clipped gradient `g`, from the moments and weights before.
fn moved(before: Moved, g: vec4<f32>) -> Moved {
    let rate = scalars[LR] / scalars[CORRECTION1];
    let kept = 1.0 - scalars[LR] * scalars[WEIGHT_DECAY];
    let m = scalars[BETA1] * before.moment1 + scalars[GAIN1] * g;
    let v = scalars[BETA2] * before.moment2 + scalars[GAIN2] * g * g;
    let weight = before.weight * kept - rate * m / (sqrt(v) / scalars[CORRECTION2] + scalars[EPS]);
    return Moved(weight, m, v);
}
