// The columns of a row that an invocation takes, of `cols` that `lanes` of them share: from the first to before the second,
// every NEIGHBOURS-th. So neighbours read what lies side by side and go on right behind it, which caches like better than
// strides of a workgroup.

const NEIGHBOURS = 8u;

fn columns_of(cols: u32, lane: u32, lanes: u32) -> vec2<u32> {
    let each = (cols + lanes - 1u) / lanes;
    let first = lane / NEIGHBOURS * NEIGHBOURS * each + lane % NEIGHBOURS;
    return vec2(first, min(first + NEIGHBOURS * each, cols));
}
