// Numbers one by one, for sizes that do not come in fours, at a fraction of the speed. As lib/fours.wgsl.

alias Numbers = f32;
const WIDTH = 1u;

fn total(x: Numbers) -> f32 {
    return x;
}
