// For linear_tile: the terms are divided among parts of the invocations (split-k).

override SPLIT_K: u32 = 1u;
override SUMS: u32 = TX * TY * ROWS * COLS / 4u;

var<workgroup> sums: array<vec4<f32>, SUMS>;

// Adds the others to part 0, in order.
fn add_parts(thread: u32, acc: ptr<function, Tile>) {
    for (var part = 1u; part < SPLIT_K; part++) {
        add_part(thread, part, acc);
    }
}

fn add_part(thread: u32, part: u32, acc: ptr<function, Tile>) {
    let own = thread / (TX * TY);
    let inside = thread % (TX * TY);
    if own == part {
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
