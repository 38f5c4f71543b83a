// As pcg, four at a time.
fn pcg4(n: vec4<u32>) -> vec4<u32> {
    let state = n * 747796405u + 2891336453u;
    let word = ((state >> ((state >> vec4(28u)) + 4u)) ^ state) * 277803737u;
    return (word >> vec4(22u)) ^ word;
}
