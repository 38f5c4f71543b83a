//! What differs between operating systems and browsers: the clock, free memory, folders for caches. The core asks for none
//! of it; it is passed in. And the files that the tuner keeps there.

mod memory;
pub mod tuning_cache;

use std::{path::PathBuf, sync::OnceLock, time::Duration, time::Instant};

pub use memory::available;

use crate::{
    clock::Clock,
    gpu::{Error, Gpu},
};

/// The system's clock.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// Opens a device with the system's clock: see [`Gpu::open`].
///
/// # Errors
/// If there is no such device, or none that can be used.
pub fn open(wanted: Option<&str>) -> Result<Gpu, Error> {
    Gpu::open(wanted, &SystemClock)
}

/// Where choices of kernels are kept between runs: `UNDERDOG_CACHE`, or the user's cache folder; `None` if there is neither.
pub fn cache_folder() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    match std::env::var_os("UNDERDOG_CACHE") {
        Some(folder) => Some(PathBuf::from(folder)).filter(|folder| !folder.as_os_str().is_empty()),
        None => Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("underdog")),
    }
}
