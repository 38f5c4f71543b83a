//! Products with a matrix that is held packed, and rows of such a table: widened inside of the kernel that reads it. Sums that
//! go to a packed gradient.
//!
//! One kernel a format, of the same bindings and immediates: those of `linear` and `embedding`.

use crate::{
    gpu::{
        Kernel,
        kernels::{
            embedding, embedding_bf16, embedding_f16, embedding_gradient_bf16, embedding_nf4, embedding_q4,
            embedding_q8, gradient_bf16, linear, linear_bf16, linear_f16, linear_nf4, linear_q4, linear_q8,
        },
    },
    graph::{
        tape::{Grid, Tape},
        tensor::{Format, Tensor, size},
    },
};

/// The kernels of one format.
struct Kernels {
    nt: &'static Kernel,
    nt_row: &'static Kernel,
    nn: &'static Kernel,
    rows: &'static Kernel,
}

/// # Panics
/// For numbers of four bytes, whose kernels are `linear`'s own, and for codes.
fn kernels(format: Format) -> Kernels {
    match format {
        Format::F32 | Format::Codes => panic!("{format:?} has no products"),
        Format::Bf16 => Kernels {
            nt: &linear_bf16::NT,
            nt_row: &linear_bf16::NT_ROW,
            nn: &linear_bf16::NN,
            rows: &embedding_bf16::FORWARD,
        },
        Format::F16 => Kernels {
            nt: &linear_f16::NT,
            nt_row: &linear_f16::NT_ROW,
            nn: &linear_f16::NN,
            rows: &embedding_f16::FORWARD,
        },
        Format::Q8 => Kernels {
            nt: &linear_q8::NT,
            nt_row: &linear_q8::NT_ROW,
            nn: &linear_q8::NN,
            rows: &embedding_q8::FORWARD,
        },
        Format::Q4 => Kernels {
            nt: &linear_q4::NT,
            nt_row: &linear_q4::NT_ROW,
            nn: &linear_q4::NN,
            rows: &embedding_q4::FORWARD,
        },
        Format::Nf4 => Kernels {
            nt: &linear_nf4::NT,
            nt_row: &linear_nf4::NT_ROW,
            nn: &linear_nf4::NN,
            rows: &embedding_nf4::FORWARD,
        },
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
    assert_eq!(gradient.format, Format::Bf16, "sums go to no gradient held otherwise");
    let params = gradient_bf16::Params { n: size(sums.len() / 4), first: size(first), salt };
    tape.run(gradient_bf16::Add { sums4: sums, gradient, keys }, params, Grid::items(sums.len() / 4, 64));
}

/// As the backward of `embedding`, to a packed gradient.
pub(super) fn add_rows(tape: &mut Tape, [tokens, order, dy4, dtable]: [Tensor; 4], params: embedding::Params) {
    assert_eq!(dtable.format, Format::Bf16, "rows go to no gradient held otherwise");
    let (keys, salt) = tape.rounding();
    let embedding::Params { tokens: count_of, cols, first, count, scale } = params;
    let params = embedding_gradient_bf16::Params { tokens: count_of, cols, first, count, scale, salt };
    let launch = embedding_gradient_bf16::Backward { tokens, order, dy4, dtable, keys };
    tape.run(launch, params, Grid::plane(tokens.len(), dtable.cols.div_ceil(4 * 64)));
}
