//! What can stop an engine, in words for its user.

use crate::{gpu, model, report};

/// What can stop an engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A model does not fit the device's bindings, or its folder cannot be read.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// Two models of one loss have different vocabularies.
    #[error(
        "the model has {main} tokens in its vocabulary, the {role} {auxiliary}; logits that meet need one vocabulary"
    )]
    Vocabulary {
        /// Rows of the trained model's head.
        main: usize,
        /// What the other model is.
        role: &'static str,
        /// Rows of its head.
        auxiliary: usize,
    },
    /// Logits that are capped one by one cannot be added up before.
    #[error(
        "the logits of {family} are soft-capped, and several weak models of that kind are not supported; give one weak model"
    )]
    SoftCap {
        /// `model_type`.
        family: &'static str,
    },
    /// Even the smallest plan is larger than the memory.
    #[error("this needs {needed} at least ({least}) and there are {available}: {advice}")]
    Memory {
        /// Bytes of the smallest plan, for people.
        needed: String,
        /// Bytes that there are, for people.
        available: String,
        /// What the smallest plan is.
        least: String,
        /// The cheapest change that would help.
        advice: String,
    },
    /// The user's sequence length is shorter than an example, and examples are never split.
    #[error(
        "rows of {tokens} tokens are too short: an example has {longest}; raise tokens_per_pass to that at least, leave \
         it out, or lower max_length"
    )]
    ShortRow {
        /// Tokens of a sequence.
        tokens: usize,
        /// Tokens of the longest example.
        longest: usize,
    },
    /// A packed sequence has more tokens than the gradient of a weight can sum over.
    #[error("rows of {tokens} tokens are not supported, {most} are the most; lower max_length or tokens_per_pass")]
    Tokens {
        /// Tokens of a sequence.
        tokens: usize,
        /// The longest sum.
        most: usize,
    },
    /// Cached hidden states cannot be read.
    #[error(transparent)]
    Cache(#[from] crate::events::BoxError),
    /// Cached hidden states are not of the samples that are trained on.
    #[error(
        "hidden states of {positions} positions are cached for a row that has {targets}; make them of these samples"
    )]
    NotCached {
        /// Positions there are states of.
        positions: usize,
        /// Positions that predict a target.
        targets: usize,
    },
    /// The folder of a model whose layers are read in every micro-batch was not set.
    #[error("the layers of a weak model are to be read in every pass, and it is not known where")]
    NoLayers,
    /// A cache for one text is larger than a binding.
    #[error("a text of {tokens} tokens is more than this device can keep in one buffer; lower --max-new-tokens")]
    Text {
        /// Tokens that the text may reach.
        tokens: usize,
    },
    /// A tensor of a packed sequence is larger than a binding.
    #[error(
        "rows of {tokens} tokens need a tensor of {bytes} bytes, and this device binds at most {limit}; lower max_length"
    )]
    Row {
        /// Tokens of a sequence.
        tokens: usize,
        /// Size of the largest tensor.
        bytes: u64,
        /// What the device binds.
        limit: u64,
    },
}

impl Error {
    /// [`Error::Memory`] with sizes in bytes.
    pub fn memory(needed: u64, available: u64, least: String, advice: impl Into<String>) -> Self {
        let [needed, available] = [needed, available].map(report::bytes);
        Self::Memory { needed, available, least, advice: advice.into() }
    }
}
