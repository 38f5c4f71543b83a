// The likeliest token of each row of logits: ids[i] = the first v with the largest x[i, v].
//
// x: [n, cols]; ids: [n]. A workgroup takes a row, an invocation ceil(cols / 256) logits of it and 8 steps of the end.

#import grid

struct Params {
    n: u32,
    cols: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> ids: array<u32>;

const WIDTH = 256u;

var<workgroup> values: array<f32, WIDTH>;
var<workgroup> tokens: array<u32, WIDTH>;

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    if row >= params.n {
        return;
    }
    let first = row * params.cols;
    // In short rows several invocations look at the last logit.
    var token = min(lane, params.cols - 1u);
    var value = x[first + token];
    for (var v = lane + WIDTH; v < params.cols; v += WIDTH) {
        let other = x[first + v];
        if other > value {
            value = other;
            token = v;
        }
    }
    values[lane] = value;
    tokens[lane] = token;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half > 0u; half /= 2u) {
        if lane < half {
            let at = lane + half;
            let wins = values[at] > values[lane] || (values[at] == values[lane] && tokens[at] < tokens[lane]);
            if wins {
                values[lane] = values[at];
                tokens[lane] = tokens[at];
            }
        }
        workgroupBarrier();
    }
    if lane == 0u {
        ids[row] = tokens[0];
    }
}
