//! Training steps of `underdog bench` under criterion, for work on the code: `cargo bench --bench step -- tiny`.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use underdog::bench;

fn steps(criterion: &mut Criterion) {
    let gpu = underdog::platform::open(None).unwrap_or_else(|error| panic!("{error}"));
    eprintln!("adapter: {}", gpu.name());
    let mut group = criterion.benchmark_group("step");
    for case in bench::step_cases().into_iter().filter(|case| case.model() == "tiny" || !gpu.is_cpu()) {
        group.throughput(Throughput::Elements(case.tokens() as u64));
        group.sample_size(10).measurement_time(Duration::from_secs(5));
        let mut trainer = None;
        group.bench_function(&case.name, |bencher| {
            let trainer = trainer.get_or_insert_with(|| case.load(&gpu, None).expect("room for the model"));
            bencher.iter(|| trainer.step().expect("a working device"));
        });
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
