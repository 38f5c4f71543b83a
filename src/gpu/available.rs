//! How much memory a run may take on a device, where the system tells: wgpu does not.
//!
//! What a device shares with the rest of the machine is looked up there (`/proc/meminfo`, macOS's `sysctl`), memory of its own
//! in amdgpu's files below `/sys` or by NVIDIA's `nvidia-smi`, which comes with the driver. On other systems it is unknown.

use std::{fs, process::Command};

use super::device::Gpu;

/// Least that is left to a display and to what the driver itself needs.
const RESERVE: u64 = 512 << 20;

impl Gpu {
    /// Bytes that may be allocated, where that can be known, less a reserve: a software driver would be killed beyond what
    /// the system has instead of reporting, and a display needs room beside a run.
    pub fn available(&self) -> Option<u64> {
        let free = match self.info.device_type {
            wgpu::DeviceType::Cpu => return Some(system()? / 10 * 9),
            wgpu::DeviceType::IntegratedGpu => {
                let own = amd(&self.info.device_pci_bus_id, &["gtt", "vram"]).unwrap_or(u64::MAX);
                (system()? / 10 * 9).min(own)
            }
            _ => amd(&self.info.device_pci_bus_id, &["vram"]).or_else(|| nvidia(&self.info))?,
        };
        Some(free.saturating_sub(RESERVE.max(free / 16)))
    }
}

/// What programs can still get of the machine's memory; on macOS the share of it that Metal recommends to use.
fn system() -> Option<u64> {
    if cfg!(target_os = "macos") {
        let told = Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
        let bytes: u64 = String::from_utf8(told.stdout).ok()?.trim().parse().ok()?;
        return Some(bytes / 3 * 2);
    }
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// What amdgpu has left of these kinds of memory.
fn amd(bus: &str, kinds: &[&str]) -> Option<u64> {
    let read = |kind: &str, what: &str| -> Option<u64> {
        let file = format!("/sys/bus/pci/devices/{bus}/mem_info_{kind}_{what}");
        fs::read_to_string(file).ok()?.trim().parse().ok()
    };
    let left = |kind: &&str| Some(read(kind, "total")?.saturating_sub(read(kind, "used")?));
    kinds.iter().map(left).sum()
}

/// What NVIDIA's driver has left.
fn nvidia(info: &wgpu::AdapterInfo) -> Option<u64> {
    const VENDOR: u32 = 0x10de;
    if info.vendor != VENDOR || info.device_pci_bus_id.is_empty() {
        return None;
    }
    let asked = ["--query-gpu=memory.free", "--format=csv,noheader,nounits", "--id", &info.device_pci_bus_id];
    let told = Command::new("nvidia-smi").args(asked).output().ok()?;
    let mib: u64 = String::from_utf8(told.stdout).ok()?.trim().parse().ok()?;
    mib.checked_mul(1 << 20)
}
