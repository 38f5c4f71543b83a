//! The kernels of `underdog bench` under criterion, for work on the code: `cargo bench --bench kernels -- gemm`.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use underdog::bench;

/// Runs of a submission, so that its own cost is small.
const TIMES: u64 = 8;

fn kernels(criterion: &mut Criterion) {
    let gpu = underdog::platform::open(None).unwrap_or_else(|error| panic!("{error}"));
    eprintln!("adapter: {}", gpu.name());
    let possible = |case: &bench::Case| (case.is_small() || !gpu.is_cpu()) && case.is_offered(&gpu);
    for case in bench::kernel_cases().into_iter().filter(possible) {
        let mut group = criterion.benchmark_group(case.group);
        group.throughput(Throughput::Elements(case.work as u64));
        group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        let mut loaded = None;
        group.bench_function(&case.name, |bencher| {
            bencher.iter_custom(|runs| {
                let loaded = loaded.get_or_insert_with(|| case.load(&gpu).expect("room for the case"));
                let mut total = Duration::ZERO;
                let mut left = runs;
                while left > 0 {
                    let times = left.min(TIMES);
                    total += loaded.time(&gpu, times as usize).expect("a working device").total;
                    left -= times;
                }
                total
            });
        });
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
