// PCG-RXS-M-XS-32 (O'Neill 2014), one step of it as a hash; the host's is data::random::pcg.
fn pcg(n: u32) -> u32 {
    let state = n * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}
