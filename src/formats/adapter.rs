//! Adapters on disk: PEFT folders (`adapter_config.json`, `adapter_model.safetensors`) in and out, those of mlx-lm in.
//!
//! The tensors in the file say which modules are adapted; the settings beside them must agree. What the settings ask for
//! and is not supported is refused by name. Which modules a model has is the model's business.

mod config;
mod fields;
mod folder;
mod mlx;
mod peft;

pub(super) use config::CONFIG;
pub use config::{AdapterConfig, PREFIX, Part, ends_with, tensor_name};
pub use folder::{AdapterFolder, is_adapter};
pub(super) use peft::{TENSORS, write};
