// nt for fewer rows than a tile is worth (decoding): one row of Y per workgroup row, an invocation makes 4 columns, grid =
// (ceil(n / 128), m, 1). Trips: k / 4. Needs what lib/linear_registers.wgsl has.

const ROW_THREADS = 32u;

@compute @workgroup_size(ROW_THREADS)
fn nt_row(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quad = group.x * ROW_THREADS + thread;
    let groups_at = groups_begin(params.n);
    let row = group.y * (params.ldx / 4u);
    let col = min(quad, params.n / 4u - 1u) * params.ldw;
    var acc = vec4<f32>();
    for (var k = 0u; k < params.k / 4u; k++) {
        acc += x4[row + k] * block(col + k, params.ldw / 4u, groups_at);
    }
    if quad * 4u < params.n {
        let to = group.y * (params.ldy / 4u) + quad;
        if params.accumulate != 0u {
            acc += y4[to];
        }
        if params.addend != NOTHING {
            acc += addend4[addend_row(group.y) / 4u + quad];
        }
        y4[to] = acc;
    }
}
