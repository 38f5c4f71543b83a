// What attention's gradients by matrix units share beside attention_coop.wgsl.
//
// Gradients of a model are far below what f16 holds: those of 64 results at a time are staged times a power of two, their
// gain, that brings the largest of their numbers to between 8 and 16, and what comes of them is divided by it.

#import attention_squares

var<workgroup> largest: atomic<u32>;
var<workgroup> largest_bits: u32;

// The gain of rows first .. first + 64 < past of dout; the same for all invocations.
fn gain_of(place: Place, first: u32, past: u32) -> f32 {
    if place.index == 0u {
        atomicStore(&largest, 0u);
    }
    workgroupBarrier();
    var most = vec4<f32>();
    for (var r = place.y; r < min(WALK, past - min(first, past)); r += TALL) {
        for (var d = place.x; d < quads(); d += WIDE) {
            most = max(most, abs(dout[pair(first + r, place.head_kv) * quads() + d]));
        }
    }
    // Numbers of one sign are in the order of their bits.
    atomicMax(&largest, bitcast<u32>(max(max(most.x, most.y), max(most.z, most.w))));
    workgroupBarrier();
    if place.index == 0u {
        largest_bits = atomicLoad(&largest);
    }
    let exponent = clamp(workgroupUniformLoad(&largest_bits) >> 23u, 10u, 250u);
    return bitcast<f32>((257u - exponent) << 23u);
}

fn stage_gained_dout(part: Part, place: Place, gain: f32) {
    for (var i = place.index; i < part.count * part.width; i += WIDE * TALL) {
        let r = i / part.width;
        let d = i % part.width;
        var value = vec4<f32>();
        if part.first + r < part.past && part.depth + d < quads() {
            value = gain * dout[pair(part.first + r, place.head_kv) * quads() + part.depth + d];
        }
        put_staged(target_of(part, r, d), value);
    }
}
