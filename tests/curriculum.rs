//! Curriculum weights against values worked out here, and the files they are read from and written to.

use std::fs;
use std::path::PathBuf;

use underdog::curriculum::{self, CurriculumRow, EntropyRow, Error};

const TOLERANCE: f64 = 1e-9;

fn assert_close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= TOLERANCE, "weight {i}: got {got}, want {want}");
    }
}

#[test]
fn weights_follow_the_formula() {
    // Sum of weak 8; lost entropy 1, 0, 2, 0 (sum 3); gained 0, 1, 0, 0 (sum 1).
    let weights = curriculum::weights(&[2.0, 1.0, 4.0, 1.0], &[1.0, 2.0, 2.0, 1.0], 0.1, 0.8, 0.1).unwrap();
    let want = [0.1 / 4.0 + 0.8 / 3.0, 0.1 / 8.0 + 0.1, 0.1 / 2.0 + 0.8 * 2.0 / 3.0, 0.1 / 8.0];
    assert_close(&weights, &want);
}

/// Made by `tests/reference/generate.py`, which knows the formula from the paper, not from here.
#[test]
fn weights_are_those_of_the_reference() {
    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        entropy_weak: Vec<f64>,
        entropy_strong: Vec<f64>,
        alpha: f64,
        beta: f64,
        gamma: f64,
        weights: Vec<f64>,
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/curriculum.json");
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let Case { name, entropy_weak: weak, entropy_strong: strong, alpha, beta, gamma, weights: want } = case;
        eprintln!("{name}");
        assert_close(&curriculum::weights(&weak, &strong, alpha, beta, gamma).unwrap(), &want);
    }
}

#[test]
fn coefficients_need_not_sum_to_one() {
    let few = curriculum::weights(&[2.0, 1.0, 4.0], &[1.0, 2.0, 2.0], 0.1, 0.8, 0.1).unwrap();
    let many = curriculum::weights(&[2.0, 1.0, 4.0], &[1.0, 2.0, 2.0], 1.0, 8.0, 1.0).unwrap();
    assert_close(&many, &few);
    assert_close(&[many.iter().sum()], &[1.0]);
}

#[test]
fn a_term_that_sums_to_zero_is_dropped() {
    for (weak, strong, want) in [
        // Nothing gained: alpha and beta share the weight as 1 : 8.
        ([1.0, 3.0], [0.0, 3.0], [(0.1 * 0.25 + 0.8) / 0.9, (0.1 * 0.75) / 0.9]),
        // Nothing lost.
        ([1.0, 3.0], [1.0, 5.0], [(0.1 * 0.25) / 0.2, (0.1 * 0.75 + 0.1) / 0.2]),
        // Nothing changed.
        ([1.0, 3.0], [1.0, 3.0], [0.25, 0.75]),
        // A weak model that is sure of everything.
        ([0.0, 0.0], [2.0, 6.0], [0.25, 0.75]),
    ] {
        assert_close(&curriculum::weights(&weak, &strong, 0.1, 0.8, 0.1).unwrap(), &want);
    }
}

#[test]
fn what_cannot_be_weighed_is_refused() {
    let message = |weak: &[f64], strong: &[f64], [a, b, c]: [f64; 3]| {
        curriculum::weights(weak, strong, a, b, c).unwrap_err().to_string()
    };
    let usual = [0.1, 0.8, 0.1];
    for (got, want) in [
        (message(&[1.0, 2.0], &[1.0], usual), "2 entropies of the weak model but 1 of the strong one"),
        (message(&[1.0, f64::NAN], &[1.0, 1.0], usual), "sample 1: the weak model's entropy is NaN"),
        (message(&[1.0, 1.0], &[-0.5, 1.0], usual), "sample 0: the strong model's entropy is -0.5"),
        (message(&[1.0], &[f64::INFINITY], usual), "sample 0: the strong model's entropy is inf"),
        (message(&[1.0], &[1.0], [0.1, -0.8, 0.1]), "beta is -0.8"),
        (message(&[1.0], &[1.0], [f64::NAN, 0.8, 0.1]), "alpha is NaN"),
        (message(&[1.0], &[1.0], [0.0; 3]), "every one of alpha, beta and gamma is 0"),
        (message(&[0.0, 0.0], &[0.0, 0.0], usual), "all 2 weights are zero"),
        (message(&[1.0, 2.0], &[1.0, 2.0], [0.0, 0.8, 0.1]), "all 2 weights are zero"),
    ] {
        assert!(got.starts_with(want), "got  {got}\nwant {want}");
    }
}

#[test]
fn effective_sample_size_counts_equal_weights() {
    for (weights, want) in
        [(vec![0.25; 4], 4.0), (vec![1.0, 0.0, 0.0], 1.0), (vec![3.0, 1.0], 1.6), (vec![], 0.0), (vec![0.0], 0.0)]
    {
        assert_close(&[curriculum::effective_sample_size(&weights)], &[want]);
    }
}

fn entropies(rows: &[(u64, f64)]) -> Vec<EntropyRow> {
    rows.iter().map(|(idx, entropy)| EntropyRow { idx: *idx, entropy: *entropy, loss: 1.5, tokens: 7 }).collect()
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn entropies(&self, name: &str, rows: &[(u64, f64)]) -> PathBuf {
        curriculum::write_entropies(&self.path(name), &entropies(rows)).unwrap();
        self.path(name)
    }
}

#[test]
fn rows_survive_their_files() {
    let files = Files::new();
    let rows = entropies(&[(3, 0.1), (1, 1.0 / 3.0), (u64::MAX, 0.0)]);
    curriculum::write_entropies(&files.path("e.jsonl"), &rows).unwrap();
    assert_eq!(curriculum::read_entropies(&files.path("e.jsonl")).unwrap(), rows);

    let rows = vec![CurriculumRow { idx: 3, weight: 1.0, entropy_weak: 0.7, entropy_strong: 0.2 }];
    curriculum::write_curriculum(&files.path("c.jsonl"), &rows).unwrap();
    assert_eq!(curriculum::read_curriculum(&files.path("c.jsonl")).unwrap(), rows);
    let text = fs::read_to_string(files.path("c.jsonl")).unwrap();
    assert_eq!(text, "{\"idx\":3,\"weight\":1.0,\"entropy_weak\":0.7,\"entropy_strong\":0.2}\n");
    assert_eq!(fs::read_dir(files.folder.path()).unwrap().count(), 2, "nothing is left beside the files");
}

#[test]
fn samples_are_joined_by_idx() {
    let files = Files::new();
    let weak = files.entropies("weak.jsonl", &[(7, 2.0), (5, 1.0), (9, 4.0)]);
    let strong = files.entropies("strong.jsonl", &[(9, 2.0), (7, 1.0), (5, 2.0)]);
    let rows = curriculum::from_files(&weak, &strong, 0.1, 0.8, 0.1).unwrap();
    let order: Vec<_> = rows.iter().map(|row| (row.idx, row.entropy_weak, row.entropy_strong)).collect();
    assert_eq!(order, [(7, 2.0, 1.0), (5, 1.0, 2.0), (9, 4.0, 2.0)]);
    let weights: Vec<f64> = rows.iter().map(|row| row.weight).collect();
    assert_close(&weights, &curriculum::weights(&[2.0, 1.0, 4.0], &[1.0, 2.0, 2.0], 0.1, 0.8, 0.1).unwrap());
}

#[test]
fn a_sample_that_one_file_lacks_is_named() {
    let files = Files::new();
    let more = files.entropies("more.jsonl", &[(1, 1.0), (2, 1.0)]);
    let less = files.entropies("less.jsonl", &[(1, 1.0)]);
    for (weak, strong) in [(&more, &less), (&less, &more)] {
        match curriculum::from_files(weak, strong, 0.1, 0.8, 0.1).unwrap_err() {
            Error::Missing { idx: 2, missing_in, found_in } => assert_eq!((&missing_in, &found_in), (&less, &more)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn bad_rows_are_named_by_file_and_line() {
    const ROW: &str = "{\"idx\": 4, \"entropy\": 0.5, \"loss\": 1.0, \"tokens\": 3}\n";
    let files = Files::new();
    let long = format!("{ROW}\"{}\"", "x".repeat(70_000));
    for (text, line, want) in [
        (format!("{ROW}\n{{\"idx\": 5, \"entropy\": 0.5, \"loss\": 1.0}}\n"), 3, "missing field `tokens`"),
        (format!("{ROW}{{\"idx\": 5, \"entropy\": null, \"loss\": 1.0, \"tokens\": 3}}\n"), 2, "invalid type: null"),
        (
            format!("{ROW}{{\"idx\": 5, \"entropy\": -1, \"loss\": 1.0, \"tokens\": 3}}\n"),
            2,
            "sample idx 5: entropy is -1",
        ),
        (format!("{ROW}{{\"idx\": -5, \"entropy\": 1, \"loss\": 1.0, \"tokens\": 3}}\n"), 2, "invalid value"),
        (format!("{ROW}{{\"idx\": 5, \"entr"), 2, "EOF while parsing"),
        (format!("{ROW}\u{fffd}\n"), 2, "expected value"),
        (format!("{ROW}{ROW}"), 2, "sample idx 4 stands there a second time (first in line 1)"),
        (long, 2, "longer than 65536 bytes"),
    ] {
        let path = files.text("rows.jsonl", &text);
        let got = curriculum::read_entropies(&path).unwrap_err().to_string();
        let want = format!("{}:{line}: {want}", path.display());
        assert!(got.starts_with(&want), "got  {got}\nwant {want}");
    }
    let empty = files.text("empty.jsonl", "\n\n");
    assert!(matches!(curriculum::read_entropies(&empty).unwrap_err(), Error::Empty { path } if path == empty));
    let absent = files.path("absent.jsonl");
    assert!(matches!(curriculum::read_entropies(&absent).unwrap_err(), Error::Io { path, .. } if path == absent));
    let zero = files.text("zero.jsonl", "{\"idx\":1,\"weight\":0,\"entropy_weak\":0,\"entropy_strong\":0}");
    assert!(matches!(curriculum::read_curriculum(&zero).unwrap_err(), Error::AllZero { samples: 1 }));
}
