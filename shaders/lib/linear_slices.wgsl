// For linear_tile: slices of invocations sum a part of the terms each.

override SLICES: u32 = 1u;
override SUMS: u32 = TX * TY * ROWS * COLS / 4u;

var<workgroup> sums: array<vec4<f32>, SUMS>;

// Adds the others to slice 0, in order.
fn add_slices(thread: u32, acc: ptr<function, Tile>) {
    for (var slice = 1u; slice < SLICES; slice++) {
        add_slice(thread, slice, acc);
    }
}

fn add_slice(thread: u32, slice: u32, acc: ptr<function, Tile>) {
    let own = thread / (TX * TY);
    let inside = thread % (TX * TY);
    if own == slice {
        for (var i = 0u; i < ROWS; i++) {
            for (var j = 0u; j < COLS / 4u; j++) {
                sums[(i * (COLS / 4u) + j) * TX * TY + inside] = (*acc)[i][j];
            }
        }
    }
    workgroupBarrier();
    if own == 0u {
        for (var i = 0u; i < ROWS; i++) {
            for (var j = 0u; j < COLS / 4u; j++) {
                (*acc)[i][j] += sums[(i * (COLS / 4u) + j) * TX * TY + inside];
            }
        }
    }
    workgroupBarrier();
}
