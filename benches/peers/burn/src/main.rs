//! A training step of underdog against the same step of burn's wgpu backend: one model, one batch, one adapter, one run,
//! turn by turn. Nothing is timed before both have computed the same losses.

mod model;
mod ours;
mod report;
mod theirs;
mod workload;

use std::{error::Error, process::ExitCode, time::Instant};

use burn::tensor::Device;
use clap::Parser;
use underdog::platform;

use crate::{
    ours::Ours,
    report::{Report, Side},
    theirs::Theirs,
    workload::Workload,
};

/// Times a training step of underdog against the same step of burn.
///
/// burn chooses the adapter, CUBECL_WGPU_DEFAULT_DEVICE (`Cpu`, `DiscreteGpu(0)`) overrides it; underdog takes the same.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    workload: Workload,
    /// Timed steps of each, turn by turn
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Steps of each before, in which burn tunes its kernels; their losses must agree
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    warmup: u32,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// How far losses of the same weights may lie apart, relatively.
const SAME: f64 = 1e-4;
/// The same once weights went through different updates: Adam turns rounding of small gradients into whole steps.
const UPDATED: f64 = 1e-3;

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options) {
        Ok(report) if options.json => println!("{:#}", report.json()),
        Ok(report) => print!("{}", report.table()),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(options: &Options) -> Result<Report, Box<dyn Error>> {
    let workload = &options.workload;
    let (device, setup) = Device::wgpu_options().init_with_setup().map_err(|error| format!("burn: {error}"))?;
    let info = setup.adapter.get_info();
    let gpu = platform::open(Some(&info.name))?;
    let identity = gpu.identity();
    let same = [&identity.adapter, &identity.driver_info, &identity.backend]
        == [&info.name, &info.driver_info, &info.backend.to_string()];
    if !same {
        return Err(format!("burn took {info:?} and underdog {identity:?}: nothing to compare").into());
    }
    eprintln!("adapter: {} ({})", gpu.name(), identity.backend);
    eprintln!("warming up; burn tunes its kernels, which takes minutes on a software driver");
    let mut ours = Ours::load(&gpu, workload)?;
    let mut theirs = Theirs::load(device.autodiff(), workload);
    let (mut underdog, mut burn) = (Side::default(), Side::default());
    for step in 0..options.warmup {
        underdog.warm(timed(|| ours.step())?);
        burn.warm(timed(|| theirs.step())?);
        agree(step, underdog.losses[step as usize], burn.losses[step as usize])?;
    }
    for _ in 0..options.rounds {
        underdog.seconds.push(timed(|| ours.step())?.0);
        burn.seconds.push(timed(|| theirs.step())?.0);
    }
    Ok(Report { workload: workload.clone(), identity, underdog, burn })
}

/// Seconds, and the loss.
fn timed(step: impl FnOnce() -> Result<f64, Box<dyn Error>>) -> Result<(f64, f64), Box<dyn Error>> {
    let start = Instant::now();
    let loss = step()?;
    Ok((start.elapsed().as_secs_f64(), loss))
}

fn agree(step: u32, ours: f64, theirs: f64) -> Result<(), Box<dyn Error>> {
    eprintln!("loss of step {step}: underdog {ours:.6}, burn {theirs:.6}");
    let (apart, most) = ((ours - theirs).abs() / theirs.abs(), if step == 0 { SAME } else { UPDATED });
    if apart.is_nan() || apart > most {
        return Err(format!("they lie {apart:.1e} apart, more than {most:.0e}: not the same work, not timed").into());
    }
    Ok(())
}
