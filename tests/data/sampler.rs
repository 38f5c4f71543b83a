//! The order of examples.

use std::collections::HashSet;

use underdog::data::sampler::{Epochs, Order, draw};

#[test]
fn every_epoch_sees_every_example_once() {
    for (n, size) in [(1, 1), (7, 3), (10, 5), (5, 8)] {
        let mut epochs = Epochs::new(Order::All(n), size, 42, true).expect("epochs");
        assert_eq!(epochs.per_epoch(), n.div_ceil(size));
        for epoch in 0..3 {
            let steps = (0..epochs.per_epoch() as u64).map(|i| epoch * n.div_ceil(size) as u64 + i);
            let seen: Vec<_> = steps.flat_map(|step| epochs.batch(step)).collect();
            assert_eq!(seen.len(), n);
            assert_eq!(seen.iter().collect::<HashSet<_>>().len(), n);
        }
    }
}

#[test]
fn the_order_is_pinned() {
    let mut epochs = Epochs::new(Order::All(8), 3, 42, true).expect("epochs");
    let first: Vec<_> = (0..6).map(|step| epochs.batch(step)).collect();
    // Both lists were also computed by a ChaCha8 written apart from this project's code.
    let golden: [&[usize]; 6] = [&[7, 1, 2], &[5, 3, 6], &[4, 0], &[1, 0, 2], &[7, 6, 5], &[4, 3]];
    assert_eq!(first, golden);
    assert_eq!(draw(&[1.0, 2.0, 3.0], 12, 42).expect("drawn"), [0, 0, 2, 2, 1, 0, 2, 0, 1, 1, 1, 1]);
}

#[test]
fn any_step_can_be_asked_for_in_any_order() {
    let new = || Epochs::new(Order::All(13), 4, 9, true).expect("epochs");
    let (mut forward, mut backward) = (new(), new());
    let ahead: Vec<_> = (0..20).map(|step| forward.batch(step)).collect();
    let mut behind: Vec<_> = (0..20).rev().map(|step| backward.batch(step)).collect();
    behind.reverse();
    assert_eq!(ahead, behind);
    assert_ne!(ahead[0], ahead[4], "two epochs in the same order");
    let mut other = Epochs::new(Order::All(13), 4, 10, true).expect("epochs");
    assert_ne!(ahead, (0..20).map(|step| other.batch(step)).collect::<Vec<_>>());
}

#[test]
fn without_shuffling_the_order_is_the_files() {
    let mut epochs = Epochs::new(Order::Drawn(vec![4, 4, 1]), 2, 42, false).expect("epochs");
    let batches: Vec<_> = (0..4).map(|step| epochs.batch(step)).collect();
    assert_eq!(batches, [vec![4, 4], vec![1], vec![4, 4], vec![1]]);
}

#[test]
fn shuffling_is_fair() {
    let mut counts = [[0u32; 5]; 5];
    for seed in 0..5000 {
        let order = Epochs::new(Order::All(5), 5, seed, true).expect("epochs").batch(0);
        order.iter().enumerate().for_each(|(place, &example)| counts[place][example] += 1);
    }
    // 1000 each are expected, with a standard deviation of 28.
    assert!(counts.iter().flatten().all(|&n| (860..1140).contains(&n)), "{counts:?}");
}

#[test]
fn drawing_follows_the_weights() {
    let weights = [0.0, 1.0, 0.0, 3.0, 4.0, 0.0];
    let drawn = draw(&weights, 80_000, 7).expect("drawn");
    let mut counts = [0i64; 6];
    drawn.iter().for_each(|&i| counts[i] += 1);
    for (count, weight) in counts.iter().zip(weights) {
        // Up to six standard deviations.
        assert!((count - (weight * 10_000.0) as i64).abs() <= if weight > 0.0 { 850 } else { 0 }, "{counts:?}");
    }
}

#[test]
fn bad_arguments_are_errors() {
    for weights in [&[][..], &[0.0, 0.0], &[1.0, -0.5], &[f64::NAN], &[f64::INFINITY], &[f64::MAX, f64::MAX]] {
        assert!(draw(weights, 1, 0).is_err(), "{weights:?}");
    }
    assert!(Epochs::new(Order::All(0), 1, 0, true).is_err());
    assert!(Epochs::new(Order::Drawn(vec![]), 1, 0, true).is_err());
    assert!(Epochs::new(Order::All(3), 0, 0, true).is_err());
}
