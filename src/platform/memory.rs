//! How much memory a run may take on a device, where the system tells: wgpu does not.
//!
//! What a device shares with the rest of the machine is looked up there (`/proc/meminfo`, macOS's `sysctl`), memory of its own
//! in amdgpu's files below `/sys` or by NVIDIA's `nvidia-smi`, which comes with the driver. On other systems it is unknown.

use std::{fs, process::Command};

use crate::gpu::Gpu;

/// Least that is left to a display and to what the driver itself needs.
const RESERVE: u64 = 512 << 20;

/// Bytes that may be allocated on a device, where that can be known, less a reserve: a software driver would be killed beyond
/// what the system has instead of reporting, and a display needs room beside a run.
pub fn available(gpu: &Gpu) -> Option<u64> {
    let (kind, bus) = (gpu.identity().kind, gpu.bus());
    let free = match kind.as_str() {
        "cpu" => return Some(system()? / 10 * 9),
        "integrated" => (system()? / 10 * 9).min(amd(&bus, &["gtt", "vram"]).unwrap_or(u64::MAX)),
        _ => amd(&bus, &["vram"]).or_else(|| nvidia(gpu.vendor(), &bus))?,
    };
    Some(free.saturating_sub(RESERVE.max(free / 16)))
}

/// What programs can still get of the machine's memory; on macOS the share of it that Metal recommends to use.
fn system() -> Option<u64> {
    if cfg!(target_os = "macos") {
        let answer = Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
        let bytes: u64 = String::from_utf8(answer.stdout).ok()?.trim().parse().ok()?;
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
fn nvidia(vendor: u32, bus: &str) -> Option<u64> {
    const VENDOR: u32 = 0x10de;
    if vendor != VENDOR || bus.is_empty() {
        return None;
    }
    let asked = ["--query-gpu=memory.free", "--format=csv,noheader,nounits", "--id", bus];
    let answer = Command::new("nvidia-smi").args(asked).output().ok()?;
    let mib: u64 = String::from_utf8(answer.stdout).ok()?.trim().parse().ok()?;
    mib.checked_mul(1 << 20)
}
