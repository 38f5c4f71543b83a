//! The two places where the host waits for the device or its driver. In a browser both would give way to an event loop.

use std::future::Future;

use super::{error::Error, meter::Meter};

/// Commands that were handed to the device.
#[derive(Clone, Debug)]
pub(super) struct Submission {
    pub(super) index: wgpu::SubmissionIndex,
    /// In the order of submissions, from 1.
    pub(super) number: u64,
}

/// Waits for what a driver answers at once: adapters, a device, errors of a scope.
pub(super) fn answered<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

/// Waits for a submission, or for all of them.
pub(super) fn done(device: &wgpu::Device, meter: &Meter, submission: Option<Submission>) -> Result<(), Error> {
    let (submission_index, number) = submission.map(|submission| (submission.index, submission.number)).unzip();
    let polled = device.poll(wgpu::PollType::Wait { submission_index, timeout: None });
    meter.done(number);
    polled.map(|_| ()).map_err(|error| Error::Device(error.to_string()))
}
