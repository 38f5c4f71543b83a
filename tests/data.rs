//! The data room: tokenizers, chat templates, data files, packing and sampling.

#[path = "data/arithmetic.rs"]
mod arithmetic;
#[path = "data/dataset.rs"]
mod dataset;
#[path = "data/pack.rs"]
mod pack;
#[path = "data/sampler.rs"]
mod sampler;
#[path = "common/skip.rs"]
mod skip;
#[path = "data/support.rs"]
mod support;
#[path = "data/template.rs"]
mod template;
#[path = "data/tokenizer.rs"]
mod tokenizer;
