// One step, where every number is stored by itself. What imports this says how gradients, weights and moments are read and
// put.

#import adamw

// Four parameters an invocation: a loop over more costs software drivers twice the time.
@compute @workgroup_size(64)
fn step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 64u + lane;
    let scale = clipped[1];
    if i >= params.n || scale < 0.0 {
        return;
    }
    let g = gradient(i) * scale;
    let after = moved(Moved(weight(i), moment1(i), moment2(i)), g);
    put_moments(i, after.moment1, after.moment2);
    put_weight(i, after.weight);
}
