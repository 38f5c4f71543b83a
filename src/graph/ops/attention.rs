//! Causal grouped-query attention over packed documents, in the flash form (Dao et al. 2022): nothing of size `[T, T]`.
//!
//! `o_i = sum_j p_ij v_j`, `p_ij = exp(s_ij - lse_i)`, `s_ij = scale q_i k_j`, or `cap tanh(scale q_i k_j / cap)` where
//! scores are capped (Gemma 2), over the keys of a window where there is one (Mistral). Gradients, with `g_ij = do_i v_j`,
//! `delta_i = o_i do_i` and `ds_ij = p_ij (g_ij - delta_i) scale`, times `1 - (s_ij / cap)^2` under a cap:
//! `dq_i = sum_j ds_ij k_j`, `dk_j = sum_i ds_ij q_i`, `dv_j = sum_i p_ij do_i`.

mod groups;

pub(super) use groups::GROUPS;

use super::expect_shape;
use crate::{
    graph::{
        tape::{Backward, Grid, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::{
        attention::{BackwardDelta, BackwardKv, BackwardQ, Forward, Params},
        variants::attention::PORTABLE_ROWS,
    },
};

/// Trips of an invocation's loops in one dispatch: Mesa 22.3 ends them silently after 65,535.
const MAX_TRIPS: usize = 32_000;
/// Pairs of query and head (or keys) that one invocation owns, invocations of a workgroup.
const ROWS: usize = PORTABLE_ROWS;
const THREADS: usize = 32;

/// How the columns of queries, keys and values divide into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// `H`, query heads.
    pub heads: usize,
    /// `K`, key and value heads; divides `H`.
    pub kv_heads: usize,
    /// `D`, a multiple of 4.
    pub head_dim: usize,
}

/// How queries and keys make scores, and how far a query looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Multiplies the product of query and key; `1 / sqrt(D)` in most models.
    pub scale: f32,
    /// Scores become `softcap * tanh(score / softcap)`.
    pub softcap: Option<f32>,
    /// Most keys that a query sees, its own included; at least 1. `None`: all of its span.
    pub window: Option<usize>,
}

impl Scores {
    /// Scores scaled by `1 / sqrt(head_dim)`, not capped, over all keys.
    pub fn plain(head_dim: usize) -> Self {
        Self { scale: (1.0 / (head_dim as f64).sqrt()) as f32, softcap: None, window: None }
    }
}

struct Attention {
    heads: Heads,
    scores: Scores,
    spans: Tensor,
    ends: Tensor,
}

/// `q`: `[T, H * D]`, `k`, `v`: `[T, K * D]`; token i sees tokens `spans[i][0] <= j < spans[i][1]`, and token j is seen by
/// i in `j <= i < ends[j]`, both within the window. Result `[T, H * D]`.
pub fn attention(
    tape: &mut Tape,
    qkv: [Tensor; 3],
    heads: Heads,
    scores: Scores,
    spans: Tensor,
    ends: Tensor,
) -> Tensor {
    heads.check(qkv);
    tape.apply(Attention { heads, scores, spans, ends }, &qkv)
}

/// Attention of `q` `[Tq, H * D]` over cached `k`, `v` `[Tk, K * D]`, without gradient. A query's own key is the last of
/// its span.
pub fn attention_forward(tape: &mut Tape, qkv: [Tensor; 3], heads: Heads, scores: Scores, spans: Tensor) -> Tensor {
    heads.check(qkv);
    let params = Params { tile_rows: size(heads.decoding_rows()), ..heads.params(qkv, scores) };
    forward(tape, qkv, heads, spans, params)[0]
}

impl Heads {
    fn check(&self, [q, k, v]: [Tensor; 3]) {
        expect_shape("attention", "q", q, q.rows, self.heads * self.head_dim);
        expect_shape("attention", "k", k, k.rows, self.kv_heads * self.head_dim);
        expect_shape("attention", "v", v, k.rows, self.kv_heads * self.head_dim);
        assert!(self.head_dim.is_multiple_of(4), "attention: heads of {}", self.head_dim);
    }

    /// Query heads of a kv head.
    fn shared_by(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Pairs that one invocation owns where the queries' keys lie far apart: some of a query's, fewer than [`ROWS`].
    fn decoding_rows(&self) -> usize {
        (1..ROWS).rev().find(|rows| self.shared_by().is_multiple_of(*rows)).unwrap_or(1)
    }

    /// Trips of one walk over `step` places of the other side.
    fn trips(&self) -> usize {
        1 + 2 * (self.head_dim / 4)
    }

    fn params(&self, [q, k, _]: [Tensor; 3], scores: Scores) -> Params {
        Params {
            q_len: size(q.rows),
            kv_len: size(k.rows),
            q_heads: size(self.heads),
            kv_heads: size(self.kv_heads),
            head_dim: size(self.head_dim),
            begin: 0,
            end: 0,
            accumulate: 0,
            tile_rows: size(ROWS),
            window: scores.window.map_or(u32::MAX, size),
            scale: scores.scale,
            cap: scores.softcap.unwrap_or(0.0),
        }
    }
}

/// Ranges of the other side that keep an invocation's trips in bounds, and whether to add to what is there.
fn ranges(len: usize, most: usize, accumulate: u32) -> impl Iterator<Item = (u32, u32, u32)> {
    let starts = (0..len).step_by(most);
    starts.map(move |start| (size(start), size((start + most).min(len)), if start == 0 { accumulate } else { 1 }))
}

fn forward(tape: &mut Tape, qkv: [Tensor; 3], heads: Heads, spans: Tensor, params: Params) -> [Tensor; 2] {
    let [q, k, v] = qkv;
    let o = tape.transient(q.rows, q.cols);
    let lse = tape.transient(q.rows, heads.heads);
    let tiles = (q.rows * heads.shared_by()).div_ceil(params.tile_rows as usize);
    let grid = Grid::items(tiles * heads.kv_heads, THREADS);
    for (begin, end, accumulate) in ranges(k.rows, MAX_TRIPS / heads.trips() * 16, 0) {
        tape.run(Forward { q, k, v, o, lse, spans }, Params { begin, end, accumulate, ..params }, grid);
    }
    [o, lse]
}

impl Op for Attention {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let qkv = [inputs[0], inputs[1], inputs[2]];
        forward(tape, qkv, self.heads, self.spans, self.heads.params(qkv, self.scores)).to_vec()
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let qkv @ [q, k, v] = [back.inputs[0], back.inputs[1], back.inputs[2]];
        let (out, out_lse, dout) = (back.outputs[0], back.outputs[1], back.dy);
        let Attention { heads, scores, spans, ends } = *self;
        let params = heads.params(qkv, scores);
        let stats = back.tape.transient(q.rows, 2 * heads.heads);
        let launch = BackwardDelta { out, out_lse, new_stats: stats, dout };
        back.tape.run(launch, params, Grid::items(q.rows * heads.heads, THREADS));

        if let Some(dq) = back.gradient(0) {
            let tiles = (q.rows * heads.shared_by()).div_ceil(ROWS);
            let grid = Grid::items(tiles * heads.kv_heads, THREADS);
            for (begin, end, accumulate) in ranges(k.rows, MAX_TRIPS / heads.trips() * 8, dq.accumulate) {
                let launch = BackwardQ { q, k, v, dout, stats, spans, dq: dq.tensor };
                back.tape.run(launch, Params { begin, end, accumulate, ..params }, grid);
            }
        }
        let (dk, dv) = (back.gradient_or_scratch(1), back.gradient_or_scratch(2));
        // One kernel writes both and adds to both or to neither.
        for gradient in [dk, dv].iter().filter(|gradient| gradient.accumulate != dk.accumulate.max(dv.accumulate)) {
            back.tape.clear(gradient.tensor);
        }
        let accumulate = dk.accumulate.max(dv.accumulate);
        let grid = Grid::items(k.rows.div_ceil(ROWS) * heads.kv_heads, THREADS);
        let walks = (MAX_TRIPS / heads.shared_by() / heads.trips()).max(1);
        for (begin, end, accumulate) in ranges(q.rows, walks * 8, accumulate) {
            let launch = BackwardKv { q, k, v, dout, stats, ends, dk: dk.tensor, dv: dv.tensor };
            back.tape.run(launch, Params { begin, end, accumulate, ..params }, grid);
        }
    }
}
