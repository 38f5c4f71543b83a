// Weight-decomposed low-rank adaptation (DoRA, Liu et al. 2024, arXiv 2402.09353): rows of W + s B A scaled to the length m.
//
//   inverse[n] = 1 / |row n of W + s B A|,   y[t,n] (+)= m[n] inverse[n] z[t,n] + bias[n],   z = x (W + s B A)^T
//
// With P = A W^T and Q = A A^T B^T the squared length is sum_k W[n,k]^2 + sum_r B[n,r] (2 s P[r,n] + s^2 Q[r,n]): the sum of the
// matrices is never formed. The length is a constant to the gradient (section 4.3 of the paper):
//   dz[t,n] = m[n] inverse[n] dy[t,n],   dm[n] = sum over t of dy[t,n] z[t,n] inverse[n].
//
// w: [N, K]; b (B^T), p, q: [R, N]; inverse, magnitude (m), bias: [N]; z, y, dy, dz, products: [T, N].

#import grid
#import sum

struct LengthParams {
    rows: u32, // N
    cols: u32, // K
    rank: u32, // R
    scale: f32, // s
}

var<immediate> length_params: LengthParams;

@group(0) @binding(0) var<storage, read> w: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> p: array<f32>;
@group(0) @binding(3) var<storage, read> q: array<f32>;
@group(0) @binding(4) var<storage, read_write> inverse: array<f32>;

// One workgroup per row of W. A row without length gets 0, so that it gives 0 and not NaN.
@compute @workgroup_size(LANES)
fn lengths(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    let s = length_params.scale;
    var squares = 0.0;
    if row < length_params.rows {
        for (var k = lane; k < length_params.cols; k += LANES) {
            let value = w[row * length_params.cols + k];
            squares += value * value;
        }
        for (var r = lane; r < length_params.rank; r += LANES) {
            let i = r * length_params.rows + row;
            squares += b[i] * s * (2.0 * p[i] + s * q[i]);
        }
    }
    let total = workgroup_sum(squares, lane);
    if row < length_params.rows && lane == 0u {
        inverse[row] = select(0.0, inverseSqrt(total), total > 0.0);
    }
}

struct Params {
    rows: u32, // T
    cols: u32, // N
    accumulate: u32, // forward: add to y
    has_bias: u32, // forward; where 0, `bias` is not read: any read-only buffer may stand there
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> z: array<f32>;
@group(0) @binding(1) var<storage, read> magnitude: array<f32>;
@group(0) @binding(2) var<storage, read> saved_inverse: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// One invocation per element.
@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i >= params.rows * params.cols {
        return;
    }
    let n = i % params.cols;
    var value = magnitude[n] * saved_inverse[n] * z[i];
    if params.has_bias != 0u {
        value += bias[n];
    }
    if params.accumulate != 0u {
        value += y[i];
    }
    y[i] = value;
}

@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dz: array<f32>;
@group(0) @binding(7) var<storage, read_write> products: array<f32>;

// One invocation per element: dz, and dy z / |row|, whose columns sum to dm.
@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    if i >= params.rows * params.cols {
        return;
    }
    let n = i % params.cols;
    let d = dy[i] * saved_inverse[n];
    dz[i] = magnitude[n] * d;
    products[i] = d * z[i];
}
