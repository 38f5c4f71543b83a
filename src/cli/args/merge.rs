//! The verb `merge`.

use std::path::PathBuf;

use clap::Args;

use crate::settings::{Config, Dtype};

/// `merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Hugging Face folder of the base
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Folder of the adapter (PEFT or mlx-lm)
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Number format of the merged model; auto is the base's
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Config::default().dtype)]
    pub dtype: Dtype,
}
