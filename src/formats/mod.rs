//! Weights on disk: Hugging Face model folders and adapters in and out, and training runs that survive being killed.
//!
//! Everything is read through a [`TensorSource`], which knows tensors by name and shape only ([`Entry`]); which tensors a
//! model has is the model's business. Reading and writing go tensor by tensor, so that a model never stands in host memory
//! twice. What is read may come from strangers: every size is checked before it is believed. What is written is written
//! aside, synced and renamed, so that no half folder is ever seen. Nothing here may print.

mod adapter;
mod aside;
mod checkpoints;
mod encode;
mod error;
mod export;
pub mod files;
mod folder;
mod header;
mod numbers;
mod quantised;
mod source;
mod states;
mod tensors;
mod tokenizer_files;

pub use adapter::{AdapterConfig, AdapterFolder, PREFIX as ADAPTER_PREFIX, Part, ends_with, is_adapter, tensor_name};
pub use checkpoints::{Latest, Restored, Run, Saved, Skipped, TensorFile, latest, prune, save_run};
pub use encode::Dtype;
pub use error::{BoxError, Error};
pub use export::{AdapterFiles, Contents, ModelFiles, SHARD_BYTES, check_vacant, save};
pub use folder::Folder;
pub use quantised::Codes;
pub use source::{Entry, Layout, Renamed, Storage, Stored, TensorSource, TokenizerFiles};
pub use states::{States, StatesOf, StatesWriter};
pub use tensors::ReadTensors;
pub use tokenizer_files::read_tokenizer;
