//! What can go wrong on a GPU.

/// What can go wrong on a GPU.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No driver offers a usable adapter.
    #[error(
        "no GPU adapter found: install a Vulkan driver (for a machine without a GPU: `apt-get install mesa-vulkan-drivers libvulkan1`)"
    )]
    NoAdapter,
    /// `--device` matched nothing.
    #[error("no adapter matches device `{wanted}`; there are: {}", found.join(", "))]
    NoSuchAdapter {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: Vec<String>,
    },
    /// The adapter lacks something underdog cannot do without.
    #[error("adapter `{adapter}` cannot be used: {reason}")]
    Unusable {
        /// Adapter name.
        adapter: String,
        /// What is missing.
        reason: String,
    },
    /// An allocation failed.
    #[error("the device has no room for `{label}` ({bytes} bytes): {reason}")]
    OutOfMemory {
        /// What was being allocated.
        label: String,
        /// How much.
        bytes: u64,
        /// The driver's words.
        reason: String,
    },
    /// The driver rejected something or gave up; nothing computed since can be trusted.
    #[error("the device failed: {0}")]
    Device(String),
}
