struct Params {
    n: u32, // multiply_add: trips of the outer loop; copy: groups of four numbers; touch: what is added
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> y4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> x4: array<vec4<f32>>;
