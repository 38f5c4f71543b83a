//! What a part of a layer, a mixer or a feed-forward, is to the rest of the model: its parameters, what it records, and
//! what it keeps of the tokens before where text is generated.

use super::{parameter::List, rope::Rotation};
use crate::graph::{
    ops::Norm,
    tape::Tape,
    tensor::{Role, Store, Tensor},
};

/// The tensors of one packed sequence of `T` tokens.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// `[1, T]`
    pub tokens: Tensor,
    /// `[1, T]` positions sorted by token.
    pub order: Tensor,
    /// `[1, T]` position within the document.
    pub positions: Tensor,
    /// `[T, 2]` first key that a token sees, and one past the last.
    pub spans: Tensor,
    /// `[1, T]` one past the last token of the token's document.
    pub ends: Tensor,
}

impl Inputs {
    /// Declares them for sequences of `tokens` tokens.
    pub fn declare(store: &mut Store, tokens: usize) -> Self {
        let mut declare = |name, rows, cols| store.declare(name, Role::Inputs, rows, cols);
        Self {
            tokens: declare("tokens", 1, tokens),
            order: declare("order", 1, tokens),
            positions: declare("positions", 1, tokens),
            spans: declare("spans", tokens, 2),
            ends: declare("ends", 1, tokens),
        }
    }
}

/// Room for texts that are generated. Token `p` of text `s` has row `s * capacity + p`; tokens that belong to no text
/// have row `texts * capacity`.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// How many texts.
    pub texts: usize,
    /// Most tokens of each.
    pub capacity: usize,
    /// Most tokens of a text that go through the model at a time.
    pub step: usize,
}

/// What a layer keeps of the tokens before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cached<'a> {
    /// The tensors that [`Part::caches`] asked for.
    pub(crate) tensors: &'a [Tensor],
    /// `[1, T]` row of each new token.
    pub(crate) rows: Tensor,
    /// How rows divide into texts.
    pub(crate) room: Room,
}

/// What a part records with: the tape, its layer's weights by our names of their modules, and what belongs to the tokens.
pub(crate) trait Recorder {
    /// The tape.
    fn tape(&mut self) -> &mut Tape;
    /// `x` `[T, K]` through each of these matrices, with their biases and adapters.
    fn linears<const N: usize>(&mut self, x: Tensor, modules: [&str; N]) -> [Tensor; N];
    /// The weight of a module that is no matrix, and its bias if it has one.
    fn weight(&self, module: &str) -> [Option<Tensor>; 2];
    /// The constants of norms.
    fn norm(&self) -> Norm;
    /// The tokens.
    fn inputs(&self) -> Inputs;
    /// Row of the tables for each token, cosines and sines.
    fn rotary(&self, rotation: &Rotation) -> [Tensor; 3];
    /// What was kept of the tokens before; `None`: the sequence holds whole documents.
    fn cached(&self) -> Option<Cached<'_>>;
}

/// One of the two parts of a layer.
pub(crate) trait Part {
    /// Lists its parameters in the order of transformers.
    fn declare(&self, list: &mut List);

    /// Records it over `x` `[T, C]`, the stream behind its norm, but for its last product: that is left to the layer, which
    /// adds it to the stream. Returns what goes into the product, and its module.
    fn record<R: Recorder>(&self, at: &mut R, x: Tensor) -> (Tensor, &'static str);

    /// Channels of the products that it makes of a token with each token before: all heads of attention.
    fn score_width(&self) -> usize {
        0
    }

    /// How it turns what it reads with the position, if it does.
    fn rotation(&self) -> Option<&Rotation> {
        None
    }

    /// Rows and columns of each tensor that it keeps of the tokens before.
    fn caches(&self, _room: Room) -> Vec<[usize; 2]> {
        Vec::new()
    }
}
