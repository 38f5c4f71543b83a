// RMSNorm (Zhang & Sennrich 2019): y = x * r * w,  r = 1 / sqrt(mean(x^2) + eps),  w = weight + offset: 0 as in Llama and
// Qwen, 1 as in Gemma. Gradients, with n = x * r and g = dy * w:
//   dx = r * (g - n * mean(g * n)),   dw = sum over rows of dy * n.
//
// x, y, dx, dy: [rows, cols]; weight: [cols]; rstd (r): [rows]. Per-head norms are the same with rows = T * H.
//
// A workgroup takes four rows, so that it reads the weight once for them. Where there are fewer, the last row stands in
// for those that are missing, which keeps branches out of the loops: stores without one are much cheaper on CPUs.

#import width/*
#import columns
#import grid
#import sums

struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
    offset: f32,
    accumulate: u32, // backward: add to dx
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<Numbers>;
@group(0) @binding(1) var<storage, read> weight: array<Numbers>;
@group(0) @binding(2) var<storage, read_write> y: array<Numbers>;
@group(0) @binding(3) var<storage, read_write> rstd: array<f32>;

const ROWS = 4u; // of a workgroup

// Where the rows of a workgroup begin.
fn starts(row: u32) -> vec4<u32> {
    return rows_from(row) * (params.cols / WIDTH);
}

fn rows_from(row: u32) -> vec4<u32> {
    return min(row + vec4(0u, 1u, 2u, 3u), vec4(params.rows - 1u));
}

fn columns(row: u32, lane: u32) -> vec2<u32> {
    return columns_of(select(0u, params.cols / WIDTH, row < params.rows), lane, LANES);
}

fn sums(parts: array<Numbers, ROWS>, lane: u32) -> vec4<f32> {
    return workgroup_sums(vec4(total(parts[0]), total(parts[1]), total(parts[2]), total(parts[3])), lane);
}

// r of the rows, by their sums of squares.
fn reciprocals(row: u32, squares: vec4<f32>, lane: u32) -> vec4<f32> {
    let r = inverseSqrt(squares / f32(params.cols) + params.eps);
    if lane < ROWS && row + lane < params.rows {
        rstd[row + lane] = r[lane];
    }
    return r;
}

// Trips: cols / (32 WIDTH), twice, and those of the sums.
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = ROWS * group_index(group, groups);
    let at = starts(row);
    let own = columns(row, lane);
    var squares: array<Numbers, ROWS>;
    for (var c = own.x; c < own.y; c += NEIGHBOURS) {
        for (var j = 0u; j < ROWS; j++) {
            let v = x[at[j] + c];
            squares[j] += v * v;
        }
    }
    let r = reciprocals(row, sums(squares, lane), lane);
    for (var c = own.x; c < own.y; c += NEIGHBOURS) {
        let w = weight[c] + params.offset;
        for (var j = 0u; j < ROWS; j++) {
            y[at[j] + c] = x[at[j] + c] * r[j] * w;
        }
    }
}

// x = a + b, which is kept, and its norm.
@group(0) @binding(4) var<storage, read> a: array<Numbers>;
@group(0) @binding(5) var<storage, read> b: array<Numbers>;
@group(0) @binding(6) var<storage, read_write> sum: array<Numbers>;

// As forward.
@compute @workgroup_size(LANES)
fn forward_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = ROWS * group_index(group, groups);
    let at = starts(row);
    let own = columns(row, lane);
    var squares: array<Numbers, ROWS>;
    for (var c = own.x; c < own.y; c += NEIGHBOURS) {
        for (var j = 0u; j < ROWS; j++) {
            let v = a[at[j] + c] + b[at[j] + c];
            sum[at[j] + c] = v;
            squares[j] += v * v;
        }
    }
    let r = reciprocals(row, sums(squares, lane), lane);
    for (var c = own.x; c < own.y; c += NEIGHBOURS) {
        let w = weight[c] + params.offset;
        for (var j = 0u; j < ROWS; j++) {
            y[at[j] + c] = sum[at[j] + c] * r[j] * w;
        }
    }
}

@group(0) @binding(4) var<storage, read> dy: array<Numbers>;
@group(0) @binding(5) var<storage, read> saved_rstd: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<Numbers>;

// r of the rows, 0 for those that are missing: their dx is 0, and written before or added to that of the row that stands
// in for them.
fn saved(row: u32) -> vec4<f32> {
    let rows = rows_from(row);
    let r = vec4(saved_rstd[rows.x], saved_rstd[rows.y], saved_rstd[rows.z], saved_rstd[rows.w]);
    return select(vec4(0.0), r, row + vec4(0u, 1u, 2u, 3u) < vec4(params.rows));
}

// r^2 mean(g x) of the rows.
fn means(at: vec4<u32>, r: vec4<f32>, own: vec2<u32>, lane: u32) -> vec4<f32> {
    var dots: array<Numbers, ROWS>;
    for (var c = own.x; c < own.y; c += NEIGHBOURS) {
        let w = weight[c] + params.offset;
        for (var j = 0u; j < ROWS; j++) {
            dots[j] += dy[at[j] + c] * w * x[at[j] + c];
        }
    }
    return sums(dots, lane) * r * r / f32(params.cols);
}

fn put(at: u32, d: Numbers) {
    var sum = d;
    if params.accumulate != 0u {
        sum += dx[at];
    }
    dx[at] = sum;
}

// Trips: as forward.
@compute @workgroup_size(LANES)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = ROWS * group_index(group, groups);
    let at = starts(row);
    let own = columns(row, lane);
    let r = saved(row);
    let mean = means(at, r, own, lane);
    for (var c = own.x; c < own.y; c += NEIGHBOURS) {
        let w = weight[c] + params.offset;
        for (var k = ROWS; k > 0u; k--) {
            let j = k - 1u;
            let i = at[j] + c;
            put(i, r[j] * (dy[i] * w - x[i] * mean[j]));
        }
    }
}

// partial[p, c] = sum over the rows of workgroup p of dy * n; summed over workgroups by column_sum. [ceil(rows / ROWS), cols]
@group(0) @binding(7) var<storage, read_write> partial: array<Numbers>;

// As backward.
@compute @workgroup_size(LANES)
fn backward_both(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = ROWS * group_index(group, groups);
    let at = starts(row);
    let own = columns(row, lane);
    let r = saved(row);
    let mean = means(at, r, own, lane);
    for (var c = own.x; c < own.y; c += NEIGHBOURS) {
        let w = weight[c] + params.offset;
        var dw = Numbers();
        for (var k = ROWS; k > 0u; k--) {
            let j = k - 1u;
            let i = at[j] + c;
            let d = dy[i];
            let v = x[i];
            dw += d * v * r[j];
            put(i, r[j] * (d * w - v * mean[j]));
        }
        partial[row / ROWS * (params.cols / WIDTH) + c] = dw;
    }
}
