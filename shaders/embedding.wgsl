// Embedding: y[t] = scale table[tokens[t]].  Gradient: dtable[v] += scale sum of dy[t] over the t with tokens[t] = v.
//
// table: [V, C], possibly one of several shards: rows first .. first + count of the whole table.
// tokens: [T], y, dy: [T, C]. Tokens of other shards are left to their dispatches.

#import width/*
#import columns

struct Params {
    tokens: u32, // T
    cols: u32, // C
    first: u32,
    count: u32,
    scale: f32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<Numbers>;
@group(0) @binding(2) var<storage, read_write> y: array<Numbers>;

// One workgroup per token. Trips: cols / (64 WIDTH).
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let cols = params.cols / WIDTH;
    let row = tokens[group.x] - params.first;
    let own = columns_of(select(0u, cols, row < params.count), lane, 64u);
    for (var c = own.x; c < own.y; c += NEIGHBOURS) {
        y[group.x * cols + c] = params.scale * table[row * cols + c];
    }
}

// Positions of the row sorted by token, ties in order: equal tokens are neighbours, so that one invocation sums them in a
// fixed order, without atomics.
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read> dy: array<Numbers>;
@group(0) @binding(5) var<storage, read_write> dtable: array<Numbers>;

// One workgroup per (sorted position, 64 WIDTH columns); those that do not start a run of equal tokens return.
// Trips of an invocation: at most T.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.y;
    let cols = params.cols / WIDTH;
    let col = group.x * 64u + lane;
    let token = tokens[order[at]];
    let row = token - params.first;
    if col >= cols || row >= params.count {
        return;
    }
    if at > 0u {
        if tokens[order[at - 1u]] == token {
            return;
        }
    }
    var sum = dy[order[at] * cols + col];
    for (var i = at + 1u; i < params.tokens; i++) {
        let t = order[i];
        if tokens[t] != token {
            break;
        }
        sum += dy[t * cols + col];
    }
    dtable[row * cols + col] += params.scale * sum;
}
