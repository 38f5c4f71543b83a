//! Packing.

use underdog::data::pack::{order, pack, pack_groups};
use underdog::data::{Batch, Example};

/// A cheap generator for cases; what it gives is not asserted.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn example(len: usize, rng: &mut Lcg) -> Example {
    let ids = (0..len).map(|_| 1 + rng.below(50) as u32).collect();
    let trained = (0..len).map(|i| i > 0 && rng.below(3) > 0).collect();
    Example { idx: 0, line: 1, ids, trained }
}

/// Checks a row against the examples that it says it holds.
fn check_row(batch: &Batch, examples: &[&Example], row: usize, weight: f32) {
    let lengths = [batch.tokens.len(), batch.positions.len(), batch.start.len(), batch.end.len()];
    assert_eq!(lengths, [row; 4]);
    assert_eq!([batch.targets.len(), batch.weights.len()], [row; 2]);
    let mut used = vec![false; row];
    for place in &batch.examples {
        let example = examples[place.example];
        assert_eq!(place.len, example.ids.len());
        for i in 0..place.len {
            let t = place.start + i;
            assert!(!std::mem::replace(&mut used[t], true), "two examples at {t}");
            assert_eq!((batch.tokens[t], batch.positions[t]), (example.ids[i], i as u32));
            assert_eq!((batch.start[t], batch.end[t]), (place.start as u32, (place.start + place.len) as u32));
            let target = (i + 1 < place.len && example.trained[i + 1]).then(|| example.ids[i + 1]);
            assert_eq!((batch.targets[t], batch.weights[t]), target.map_or((0, 0.0), |id| (id, weight)));
        }
    }
    for t in (0..row).filter(|&t| !used[t]) {
        let at = t as u32;
        assert_eq!((batch.start[t], batch.end[t], batch.positions[t]), (at, at + 1, 0));
        assert_eq!((batch.tokens[t], batch.targets[t], batch.weights[t]), (0, 0, 0.0));
    }
}

#[test]
fn every_example_lies_whole_in_one_row() {
    let mut rng = Lcg(1);
    for case in 0..300 {
        let row = 1 + rng.below(64);
        let examples: Vec<_> = (0..rng.below(20)).map(|_| 1 + rng.below(row)).collect();
        let examples: Vec<_> = examples.into_iter().map(|len| example(len, &mut rng)).collect();
        let list: Vec<_> = examples.iter().collect();
        let targets: usize = list.iter().map(|e| e.targets()).sum();
        let batches = pack(&list, row).expect("packs");
        for batch in &batches {
            check_row(batch, &list, row, (1.0 / targets.max(1) as f64) as f32);
        }
        let mut placed: Vec<_> = batches.iter().flat_map(|b| &b.examples).map(|p| p.example).collect();
        placed.sort_unstable();
        assert_eq!(placed, (0..list.len()).collect::<Vec<_>>(), "case {case}");
        let weight: f64 = batches.iter().flat_map(|b| &b.weights).map(|&w| f64::from(w)).sum();
        assert!(targets == 0 || (weight - 1.0).abs() < 1e-5, "case {case}: weights sum to {weight}");
        assert_eq!(pack(&list, row).expect("packs"), batches, "case {case}");
        let tokens: usize = list.iter().map(|e| e.ids.len()).sum();
        let half_full = batches.iter().filter(|b| b.examples.iter().map(|p| p.len).sum::<usize>() * 2 <= row).count();
        assert!(half_full <= 1 && batches.len() * row >= tokens, "case {case}");
    }
}

#[test]
fn first_fit_decreasing_is_stable() {
    let mut rng = Lcg(2);
    let examples = [3, 5, 3, 5, 2, 6].map(|len| example(len, &mut rng));
    let batches = pack(&examples.each_ref(), 8).expect("packs");
    let placed: Vec<Vec<_>> =
        batches.iter().map(|b| b.examples.iter().map(|p| (p.example, p.start)).collect()).collect();
    assert_eq!(placed, [vec![(5, 0), (4, 6)], vec![(1, 0), (0, 5)], vec![(3, 0), (2, 5)]]);
}

#[test]
fn an_example_longer_than_a_row_is_an_error() {
    let long = example(9, &mut Lcg(3));
    let error = pack(&[&long], 8).expect_err("too long").to_string();
    assert!(error.contains("line 1") && error.contains("9 tokens"), "{error}");
}

#[test]
fn order_sorts_by_id_and_keeps_equals_in_place() {
    assert_eq!(order(&[5, 1, 5, 0, 1]), [3, 1, 4, 0, 2]);
    assert_eq!(order(&[]), [0u32; 0]);
}

#[test]
fn groups_stay_together() {
    let mut rng = Lcg(5);
    let examples: Vec<Example> = (0..24).map(|_| example(3 + rng.below(30), &mut rng)).collect();
    let chosen: Vec<&Example> = examples.iter().collect();
    let rows = pack_groups(&chosen, 2, 70).unwrap();
    let mut seen = Vec::new();
    for row in &rows {
        let mut here: Vec<usize> = row.examples.iter().map(|placed| placed.example).collect();
        here.sort_unstable();
        assert!(here.chunks(2).all(|pair| pair[0] % 2 == 0 && pair[1] == pair[0] + 1), "{here:?}");
        seen.extend(here);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..24).collect::<Vec<_>>());
    assert!(rows.len() > 3 && pack_groups(&chosen, 4, 70).is_err(), "four of them are longer than a row");
}
