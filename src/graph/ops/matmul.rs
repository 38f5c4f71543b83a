//! Matrix products as the kernels of `linear.wgsl` take them, those of `linear_scalar.wgsl` where sizes are not in fours, or
//! those of `linear_narrow.wgsl` and `linear_small_k.wgsl` where Y has few columns or a sum few terms;
//! `linear` and the loss head are made of these. W may be packed, and so may a gradient.

mod groups;

pub(super) use groups::GROUPS;

use super::packed;
use crate::{
    graph::{
        tape::{Grid, Tape},
        tensor::{Format, GROUP, Tensor, size},
    },
    kernels::{
        linear::{BIAS, BLOCKS, COLUMNS, NOTHING, Nn, Nt, NtRow, Params, RESIDUAL, ROW_THREADS, ROWS, Tn},
        linear_narrow, linear_packed_bf16, linear_scalar, linear_small_k,
        variants::products::register_grid,
    },
};

/// Terms that one dispatch sums: drivers end longer loops silently (Mesa 22.3 after 65,535 trips of all loops together).
pub const MAX_TERMS: usize = 32_000;

/// Terms that a dispatch of `linear.wgsl` sums, whose invocations make several tiles.
const TERMS: usize = 8000;

/// With fewer rows than this, a tile of rows would be mostly empty.
const FEW_ROWS: usize = 8;

/// With no more columns than this, half a workgroup of `linear.wgsl` would have none.
const FEW_COLUMNS: usize = COLUMNS / 2;

/// With no more terms than this, a product takes as long as it takes to read and write Y.
const FEW_TERMS: usize = 32;

/// Extents of a product `Y[m, n] (+)= sum over k`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    m: usize,
    n: usize,
    k: usize,
    accumulate: u32,
    /// Row strides of X, W and Y, where they are not dense.
    strides: Option<[usize; 3]>,
}

impl Product {
    /// All operands dense, Y overwritten.
    pub fn dense(m: usize, n: usize, k: usize) -> Self {
        Self { m, n, k, accumulate: 0, strides: None }
    }

    /// 1: adds to Y.
    #[must_use]
    pub fn accumulate(self, accumulate: u32) -> Self {
        Self { accumulate, ..self }
    }

    /// Elements from one row to the next of X, W and Y.
    #[must_use]
    pub fn strides(self, x: usize, w: usize, y: usize) -> Self {
        Self { strides: Some([x, w, y]), ..self }
    }

    fn params(&self, [ldx, ldw, ldy]: [usize; 3]) -> Params {
        Params {
            m: size(self.m),
            n: size(self.n),
            k: size(self.k),
            ldx: size(ldx),
            ldw: size(ldw),
            ldy: size(ldy),
            accumulate: self.accumulate,
            addend: size(NOTHING),
        }
    }

    /// Workgroups of which an invocation makes at most `blocks` tiles.
    fn grid(&self, blocks: usize) -> Grid {
        let [x, y] = register_grid([self.m, self.n], [ROWS, COLUMNS], blocks);
        Grid::plane(x, y)
    }

    /// Of the kernels that take any sizes.
    fn scalar_grid(&self) -> Grid {
        const COLUMNS: usize = 4 * linear_scalar::LANES * linear_scalar::QUADS;
        const LINES: usize = linear_scalar::ROWS * linear_scalar::THREADS / linear_scalar::LANES;
        Grid::plane(self.n.div_ceil(COLUMNS), self.m.div_ceil(LINES))
    }

    /// Of the kernel for few columns.
    fn narrow_grid(&self) -> Grid {
        const LINES: usize = linear_narrow::LANES * linear_narrow::ROWS;
        Grid::plane(self.n.div_ceil(linear_narrow::COLUMNS), self.m.div_ceil(LINES))
    }

    /// Of the kernel for few terms.
    fn small_k_grid(&self) -> Grid {
        Grid::plane(self.n.div_ceil(linear_small_k::COLUMNS), self.m.div_ceil(linear_small_k::ROWS))
    }

    /// One row of Y per workgroup row.
    fn row_grid(&self) -> Grid {
        Grid::plane(self.n.div_ceil(4 * ROW_THREADS), self.m)
    }
}

/// The products of at most [`TERMS`] terms that one is made of: where each begins, and its part of `params`.
fn parts(params: Params) -> impl Iterator<Item = (usize, Params)> {
    let k = params.k as usize;
    (0..k).step_by(TERMS).map(move |start| {
        let accumulate = if start > 0 { 1 } else { params.accumulate };
        let addend = if start + TERMS < k { size(NOTHING) } else { params.addend };
        (start, Params { k: size(TERMS.min(k - start)), accumulate, addend, ..params })
    })
}

/// Numbers of a packed Y that are summed at a time: 32 MiB.
const SUMS: usize = 8 << 20;

/// Whether the kernels that read four numbers at a time can be used.
fn by_four(sizes: &[usize]) -> bool {
    sizes.iter().all(|n| n.is_multiple_of(4))
}

/// What a packed W asks of a product; models are refused before whose matrices have other sizes.
fn assert_packed(w: Tensor, sizes: &[usize]) {
    assert!(w.cols.is_multiple_of(GROUP) && by_four(sizes), "matmul: {w:?} packed, with {sizes:?}");
}

/// What a product adds to its sums, by its shape: a bias is one row, a residual has rows like those of Y, as far apart.
fn addend(tensor: Option<Tensor>, product: &Product, ldy: usize) -> usize {
    match tensor {
        None => NOTHING,
        Some(Tensor { rows: 1, .. }) => BIAS,
        Some(residual) => {
            assert_eq!((residual.rows, residual.cols), (product.m, ldy), "matmul: {residual:?}");
            RESIDUAL
        }
    }
}

/// `Y[m, n] (+)= sum_k X[m, k] W[n, k] + added`: a bias `[1, n]` or a residual `[m, n]`.
pub fn nt(tape: &mut Tape, x: Tensor, w: Tensor, added: Option<Tensor>, y: Tensor, product: Product) {
    let Product { m, n, k, .. } = product;
    assert!(k <= MAX_TERMS, "matmul: sums of {k} terms");
    let strides @ [ldx, ldw, ldy] = product.strides.unwrap_or([k, k, n]);
    let params = Params { addend: size(addend(added, &product, ldy)), ..product.params(strides) };
    let added = added.unwrap_or(w);
    let few_rows = m < FEW_ROWS;
    if w.format != Format::F32 {
        assert_packed(w, &[n, ldx, ldy]);
        let grid = if few_rows { product.row_grid() } else { product.grid(linear_packed_bf16::BLOCKS) };
        return packed::nt(tape, [x, w, y, added], params, (few_rows, grid));
    }
    if by_four(&[n, k, ldx, ldw, ldy]) && few_rows {
        tape.run(NtRow { x4: x, w4: w, y4: y, addend4: added }, params, product.row_grid());
    } else if by_four(&[n, k, ldx, ldw, ldy]) && n <= FEW_COLUMNS {
        for (start, part) in parts(params) {
            let launch = linear_narrow::Nt { x4: x.from(start), w4: w.from(start), y4: y, addend4: added };
            tape.run(launch, part, product.narrow_grid());
        }
    } else if by_four(&[n, k, ldx, ldw, ldy]) {
        for (start, part) in parts(params) {
            let launch = Nt { x4: x.from(start), w4: w.from(start), y4: y, addend4: added };
            tape.run(launch, part, product.grid(BLOCKS));
        }
    } else {
        tape.run(linear_scalar::Nt { x, w, y, addend: added }, params, product.scalar_grid());
    }
}

/// `Y[m, n] (+)= sum_k X[m, k] W[k, n]`
pub fn nn(tape: &mut Tape, x: Tensor, w: Tensor, y: Tensor, product: Product) {
    let Product { n, k, .. } = product;
    assert!(k <= MAX_TERMS, "matmul: sums of {k} terms");
    let strides @ [ldx, ldw, ldy] = product.strides.unwrap_or([k, n, n]);
    let params = product.params(strides);
    if w.format != Format::F32 {
        assert_packed(w, &[k, ldx, ldy]);
        return packed::nn(tape, [x, w, y], params, product.grid(linear_packed_bf16::BLOCKS));
    }
    if !by_four(&[n, k, ldx, ldw, ldy]) {
        tape.run(linear_scalar::Nn { x, w, y }, params, product.scalar_grid());
        return;
    }
    if k <= FEW_TERMS {
        tape.run(linear_small_k::Nn { x4: x, w4: w, y4: y }, params, product.small_k_grid());
        return;
    }
    for (start, part) in parts(params) {
        tape.run(Nn { x4: x.from(start), w4: w.from(start * ldw), y4: y }, part, product.grid(BLOCKS));
    }
}

/// `Y[m, n] (+)= sum_k X[k, m] W[k, n]`
pub fn tn(tape: &mut Tape, x: Tensor, w: Tensor, y: Tensor, product: Product) {
    let Product { m, n, k, .. } = product;
    assert!(k <= MAX_TERMS, "matmul: sums of {k} terms");
    let strides @ [ldx, ldw, ldy] = product.strides.unwrap_or([m, n, n]);
    if y.format != Format::F32 {
        return tn_packed(tape, [x, w, y], strides, product);
    }
    let params = product.params(strides);
    if by_four(&[m, n, ldx, ldw, ldy]) {
        for (start, part) in parts(params) {
            tape.run(Tn { x4: x.from(start * ldx), w4: w.from(start * ldw), y4: y }, part, product.grid(BLOCKS));
        }
    } else {
        tape.run(linear_scalar::Tn { x, w, y }, params, product.scalar_grid());
    }
}

/// As [`tn`], to a gradient that is packed: the sums stand as f32 first, some rows of Y at a time, so that every variant
/// of the product serves.
fn tn_packed(tape: &mut Tape, [x, w, y]: [Tensor; 3], [ldx, ldw, _]: [usize; 3], product: Product) {
    let Product { m, n, k, accumulate, .. } = product;
    assert_eq!((y.len(), y.offset), (m * n, 0), "matmul: a part of {y:?}");
    if accumulate == 0 {
        tape.clear(y);
    }
    let rows = (SUMS / n / GROUP).max(1) * GROUP;
    let sums = tape.transient(rows.min(m), n);
    let rounding = tape.rounding();
    for first in (0..m).step_by(rows) {
        let sums = Tensor { rows: rows.min(m - first), ..sums };
        tn(tape, x.from(first), w, sums, Product::dense(sums.rows, n, k).strides(ldx, ldw, n));
        packed::add(tape, [sums, y], first * n / 4, rounding);
    }
}
