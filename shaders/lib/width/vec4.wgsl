// Numbers as most kernels take them: four at a time, where all that is counted comes in fours.

alias Numbers = vec4<f32>;
const WIDTH = 4u;

fn total(x: Numbers) -> f32 {
    return dot(x, vec4(1.0));
}
