//! Products with a packed matrix, and rows of such a table: dequantized inside of the kernel that reads it. Sums that go to
//! a packed gradient.
//!
//! One kernel a format, of the same bindings and immediates: those of `linear` and `embedding`.

use crate::{
    gpu::{Kernel, kernel::Module},
    graph::{
        tape::{Grid, Tape},
        tensor::{Format, Tensor, size},
    },
    kernels::{MODULES, embedding_gradient_bf16, embedding_vec4 as embedding, gradient_bf16, linear},
};

/// The kernels of one format, which `build.rs` makes of its loader in `shaders/lib/packed/`.
pub(super) struct Kernels {
    pub(super) nt: &'static Kernel,
    pub(super) nt_row: &'static Kernel,
    pub(super) nn: &'static Kernel,
    pub(super) rows: &'static Kernel,
    /// The variants of the products.
    pub(super) tiles: &'static Module,
}

/// # Panics
/// For numbers of four bytes, whose kernels are `linear`'s own, and for codes.
pub(super) fn kernels(format: Format) -> Kernels {
    let loader = format.loader().unwrap_or_else(|| panic!("{format:?} has no products"));
    let module = |of: &str| {
        let found = MODULES.iter().find(|module| module.name.strip_prefix(of) == Some(loader));
        *found.unwrap_or_else(|| panic!("no {of}{loader}"))
    };
    let [products, rows, tiles] = ["linear_packed_", "embedding_packed_", "linear_tile_packed_"].map(module);
    Kernels {
        nt: products.entry("nt"),
        nt_row: products.entry("nt_row"),
        nn: products.entry("nn"),
        rows: rows.entry("forward"),
        tiles,
    }
}

/// As `matmul::nt`, with packed `w`.
pub(super) fn nt(
    tape: &mut Tape,
    [x, w, y, addend]: [Tensor; 4],
    params: linear::Params,
    (few_rows, grid): (bool, Grid),
) {
    let kernels = kernels(w.format);
    let kernel = if few_rows { kernels.nt_row } else { kernels.nt };
    tape.run_kernel(kernel, vec![x, w, y, addend], &params, grid);
}

/// As `matmul::nn`, with packed `w`.
pub(super) fn nn(tape: &mut Tape, [x, w, y]: [Tensor; 3], params: linear::Params, grid: Grid) {
    tape.run_kernel(kernels(w.format).nn, vec![x, w, y], &params, grid);
}

/// As the forward of `embedding`, of a packed table.
pub(super) fn rows(tape: &mut Tape, [tokens, table, y]: [Tensor; 3], params: embedding::Params) {
    let grid = Grid::items(y.len() / 4, 64);
    tape.run_kernel(kernels(table.format).rows, vec![tokens, table, y], &params, grid);
}

/// Adds `sums` to a packed gradient, from its `first`-th four numbers on, rounded as [`Tape::rounding`] says.
pub(super) fn add(tape: &mut Tape, [sums, gradient]: [Tensor; 2], first: usize, (keys, salt): (Tensor, u32)) {
    assert_eq!(gradient.format, Format::Bf16, "sums go to no gradient in another format");
    let params = gradient_bf16::Params { n: size(sums.len() / 4), first: size(first), salt };
    tape.run(gradient_bf16::Add { sums4: sums, gradient, keys }, params, Grid::items(sums.len() / 4, 64));
}

/// As the backward of `embedding`, to a packed gradient.
pub(super) fn add_rows(tape: &mut Tape, [tokens, order, dy4, dtable]: [Tensor; 4], params: embedding::Params) {
    assert_eq!(dtable.format, Format::Bf16, "rows go to no gradient in another format");
    let (keys, salt) = tape.rounding();
    let embedding::Params { tokens: count_of, cols, first, count, scale } = params;
    let params = embedding_gradient_bf16::Params { tokens: count_of, cols, first, count, scale, salt };
    let launch = embedding_gradient_bf16::Backward { tokens, order, dy4, dtable, keys };
    tape.run(launch, params, Grid::plane(tokens.len(), dtable.cols.div_ceil(4 * 64)));
}
