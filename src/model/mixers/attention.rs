//! Causal grouped-query attention with rotary positions: queries and keys may be normalised, turn in part or not at all,
//! and see a window of the keys before them.

use super::super::{
    parameter::List,
    part::{Cached, Part, Recorder, Room},
    rope::Rotation,
};
use crate::graph::{
    ops::{self, Heads, Norm, Rotary, Scores},
    tensor::Tensor,
};

const Q: &str = "self_attn.q_proj";
const K: &str = "self_attn.k_proj";
const V: &str = "self_attn.v_proj";
const OUT: &str = "self_attn.o_proj";
const Q_NORM: &str = "self_attn.q_norm";
const K_NORM: &str = "self_attn.k_norm";

/// The attention of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// `H`, `K` and `D`.
    pub heads: Heads,
    /// How queries and keys make scores.
    pub scores: Scores,
    /// How queries and keys turn with the position; `None`: not at all.
    pub rotation: Option<Rotation>,
    /// RMS norm on queries and keys, before the rotation.
    pub qk_norm: QkNorm,
    /// Bias on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub out_bias: bool,
}

/// What the norms of queries and keys run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// There are none.
    None,
    /// Each head, with one weight for all heads.
    Head,
    /// All heads together.
    Width,
}

impl Attention {
    /// Columns of queries, and of keys or values.
    fn widths(&self) -> [usize; 2] {
        [self.heads.heads, self.heads.kv_heads].map(|heads| heads * self.heads.head_dim)
    }

    /// Queries or keys `x` behind their norm `module`, by their positions.
    fn turned<R: Recorder>(&self, at: &mut R, x: Tensor, module: &str) -> Tensor {
        let (norm, constants): (_, Norm) = (at.weight(module)[0], at.norm());
        let head_dim = self.heads.head_dim;
        let rotary = self.rotation.as_ref().map(|rotation| {
            let [positions, cosines, sines] = at.rotary(rotation);
            Rotary { positions, cosines, sines, head_dim }
        });
        let tape = at.tape();
        match (norm, rotary) {
            (Some(norm), Some(rotary)) if self.qk_norm == QkNorm::Head => {
                ops::norm_rope(tape, x, norm, constants, rotary)
            }
            (norm, rotary) => {
                let x = norm.map_or(x, |norm| ops::rms_norm(tape, x, norm, constants));
                rotary.map_or(x, |rotary| ops::rope(tape, x, rotary))
            }
        }
    }
}

impl Part for Attention {
    fn declare(&self, list: &mut List) {
        let [queries, keys] = self.widths();
        list.matrix(Q, [queries, list.hidden], self.qkv_bias);
        list.matrix(K, [keys, list.hidden], self.qkv_bias);
        list.matrix(V, [keys, list.hidden], self.qkv_bias);
        list.matrix(OUT, [list.hidden, queries], self.out_bias);
        let widths = match self.qk_norm {
            QkNorm::None => return,
            QkNorm::Head => [self.heads.head_dim; 2],
            QkNorm::Width => [queries, keys],
        };
        list.norm(Q_NORM, widths[0]);
        list.norm(K_NORM, widths[1]);
    }

    fn record<R: Recorder>(&self, at: &mut R, x: Tensor) -> (Tensor, &'static str) {
        let [q, k, v] = at.linears(x, [Q, K, V]);
        let (q, k) = (self.turned(at, q, Q_NORM), self.turned(at, k, K_NORM));
        let (inputs, heads, scores) = (at.inputs(), self.heads, self.scores);
        let kept = at.cached().map(|Cached { tensors, rows, .. }| ([tensors[0], tensors[1]], rows));
        let tape = at.tape();
        let mixed = match kept {
            None => ops::attention(tape, [q, k, v], heads, scores, inputs.spans, inputs.ends),
            Some(([keys, values], rows)) => {
                ops::append(tape, k, rows, keys);
                ops::append(tape, v, rows, values);
                ops::attention_forward(tape, [q, keys, values], heads, scores, inputs.spans)
            }
        };
        (mixed, OUT)
    }

    fn score_width(&self) -> usize {
        self.widths()[0]
    }

    fn rotation(&self) -> Option<&Rotation> {
        self.rotation.as_ref()
    }

    /// Keys and values of every token.
    fn caches(&self, room: Room) -> Vec<[usize; 2]> {
        vec![[room.texts * room.capacity + 1, self.widths()[1]]; 2]
    }
}
