// Sums of columns over blocks of rows: y[p, c] (+)= sum of x[r, c] over the rows r of block p.
// The gradient of a bias, and the second stage of every gradient that is first summed per block.
//
// x: [rows, cols], y: [ceil(rows / block), cols].

#import width/*

struct Params {
    rows: u32,
    cols: u32,
    block: u32, // rows that one invocation sums
    accumulate: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<Numbers>;
@group(0) @binding(1) var<storage, read_write> y: array<Numbers>;

// One invocation per (WIDTH columns, block). Trips: block.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let cols = params.cols / WIDTH;
    let c = group.x * 64u + lane;
    if c >= cols {
        return;
    }
    let first = group.y * params.block;
    let last = min(first + params.block, params.rows);
    var sum = Numbers();
    for (var row = first; row < last; row++) {
        sum += x[row * cols + c];
    }
    let i = group.y * cols + c;
    if params.accumulate != 0u {
        sum += y[i];
    }
    y[i] = sum;
}
