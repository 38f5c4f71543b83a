// One step, where moments are codes of 8 bits, four to a word, times the largest of their block (Dettmers et al.
// 2022). What imports this says how gradients and weights are read and put.
//
// The first moment takes the nearest code. The second, of which a step changes a thousandth, would then stay where it is:
// it is rounded by chance, and never to 0, by whose root the step is divided.

#import adamw
#import chance
#import codes

@group(0) @binding(5) var<storage, read_write> first_codes: array<u32>;
@group(0) @binding(6) var<storage, read_write> second_codes: array<u32>;
@group(0) @binding(8) var<storage, read_write> scales: array<vec2<f32>>; // of each block: the largest first and second moment

const BLOCK = 256u; // numbers that share a scale
const FOURS = 64u; // of a block, one an invocation

var<workgroup> most: array<vec2<f32>, FOURS>;

fn bytes(word: u32) -> vec4<u32> {
    return (vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u);
}

fn word(codes: vec4<u32>) -> u32 {
    return codes.x | (codes.y << 8u) | (codes.z << 16u) | (codes.w << 24u);
}

fn largest(x: vec4<f32>) -> f32 {
    return max(max(abs(x.x), abs(x.y)), max(abs(x.z), abs(x.w)));
}

// By what a block is divided; moments too small to be divided by count as 0.
fn per(scale: f32) -> f32 {
    return select(0.0, 1.0 / scale, scale > 1e-36);
}

fn first_word(m: vec4<f32>, per_scale: f32) -> u32 {
    let y = m * per_scale;
    return word(vec4(signed_code(y.x), signed_code(y.y), signed_code(y.z), signed_code(y.w)));
}

fn second_word(v: vec4<f32>, per_scale: f32, random: vec4<u32>) -> u32 {
    let y = v * per_scale;
    let r = vec4<f32>(random >> vec4(8u)) / 16777216.0;
    return word(vec4(
        unsigned_code(y.x, r.x),
        unsigned_code(y.y, r.y),
        unsigned_code(y.z, r.z),
        unsigned_code(y.w, r.w),
    ));
}

// A block a workgroup. Trips: FOURS.
@compute @workgroup_size(FOURS)
fn step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = group_index(group, groups);
    let scale = clipped[1];
    if block * FOURS >= params.n || scale < 0.0 {
        return;
    }
    let i = block * FOURS + lane;
    let before = scales[block];
    let m = bytes(first_codes[i]);
    let v = bytes(second_codes[i]);
    let m4 = before.x * vec4(signed_value(m.x), signed_value(m.y), signed_value(m.z), signed_value(m.w));
    let v4 = before.y * vec4(unsigned_value(v.x), unsigned_value(v.y), unsigned_value(v.z), unsigned_value(v.w));
    let after = moved(Moved(weight(i), m4, v4), gradient(i) * scale);
    put_weight(i, after.weight);

    most[lane] = vec2(largest(after.moment1), largest(after.moment2));
    workgroupBarrier();
    var of_block = vec2(0.0);
    for (var k = 0u; k < FOURS; k++) {
        of_block = max(of_block, most[k]);
    }
    first_codes[i] = first_word(after.moment1, per(of_block.x));
    second_codes[i] = second_word(after.moment2, per(of_block.y), chance(i, 1u));
    if lane == 0u {
        scales[block] = of_block;
    }
}
