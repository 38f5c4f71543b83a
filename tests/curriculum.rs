//! Curriculum weights against values worked out here or by numpy, the files they are read from and written to, and the
//! choice of a weak model.

use std::fs;
use std::path::{Path, PathBuf};

use underdog::data::curriculum::{self, Brownboost, Candidate, CurriculumRow, EntropyRow, Error, Rule};

const TOLERANCE: f64 = 1e-9;

const WMSS: Rule = Rule::Wmss { alpha: 0.1, beta: 0.8, gamma: 0.1 };

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
        (message(&[1.0, 2.0], &[0.0, 3.0], [f64::MAX; 3]), "the weights sum to inf"),
    ] {
        assert!(got.starts_with(want), "got  {got}\nwant {want}");
    }
}

/// Made with numpy 2.4.6 (`quantile`, `std`, `clip`) from the formula in the module's head; the authors' function gives
/// the same to 1e-15.
#[test]
fn brownboost_is_that_of_numpy() {
    let usual = Brownboost::default();
    let every_setting = Brownboost {
        alpha: 0.5,
        beta: 0.5,
        gamma: 3.0,
        easy_quantile: 0.3,
        hard_quantile: 0.6,
        hard_patience: 1,
        easy_patience: 1,
        lambda_time: 0.7,
        lambda_easy: 1.3,
    };
    let flat = Brownboost { alpha: 0.0, ..usual };
    let outlier = [
        &[0.9, 0.4, 2.0, 0.05, 1.1, 3.0, 0.7, 0.3],
        &[0.8, 0.5, 2.5, 0.06, 1.1, 2.9, 0.2, 0.3],
        &[0.5, 0.5, 2.25, 0.01, 1.3, 40.0, 0.1, 0.3],
    ];
    type Case<'a> = (&'a str, Brownboost, [&'a [f64]; 3], &'a [f64]);
    let cases: [Case; 9] = [
        (
            "one far outlier",
            usual,
            outlier.map(|e| e.as_slice()),
            &[
                0.12742037816150165,
                0.12486436544554612,
                0.24110458905327517,
                6.621396873892528e-09,
                0.43523605373973984,
                0.024358758061006763,
                6.783384172169761e-09,
                0.04701584213414949,
            ],
        ),
        (
            "every setting",
            every_setting,
            outlier.map(|e| e.as_slice()),
            &[
                0.10560255103457365,
                0.8536751389973932,
                0.017539668755321702,
                8.739191501457211e-06,
                0.017557722516745363,
                0.005575017306605449,
                3.2430124235163945e-05,
                8.732073623998027e-06,
            ],
        ),
        (
            "ties on both quantiles",
            usual,
            [&[1.0, 1.0, 0.25, 0.5, 3.0, 2.0], &[1.0, 0.25, 0.25, 0.5, 3.0, 2.0], &[0.5, 0.5, 0.25, 1.0, 1.0, 2.0]],
            &[
                3.9676338078168025e-09,
                3.9676338078168025e-09,
                3.010345777365442e-09,
                0.2053057726383505,
                0.6839497830775907,
                0.11074443333844532,
            ],
        ),
        ("all entropies equal", usual, [&[0.7; 3]; 3], &[1.0 / 3.0; 3]),
        (
            "equal now, some rose and some fell",
            usual,
            [&[0.25, 1.0, 2.0], &[1.0; 3], &[1.0; 3]],
            &[0.27045404578746934, 0.27045404578746934, 0.4590919084250612],
        ),
        (
            "all improved alike",
            usual,
            [&[1.25, 1.75, 2.25], &[1.0; 3], &[1.0, 1.5, 2.0]],
            &[6.666666570370371e-09, 0.33333332962962975, 0.6666666637037036],
        ),
        (
            "a trend beyond its bound",
            flat,
            [&[2.85, 2.15], &[1.0, 1.0], &[1.0, 0.5]],
            &[0.28454274461421647, 0.7154572553857836],
        ),
        (
            "a sample at a quantile to the last bit",
            flat,
            [&[0.34, 0.5, 0.6, 0.7], &[0.34, 0.5, 0.6, 0.7], &[0.1, 0.5, 0.6, 0.7]],
            &[0.4764317026891065, 0.22111273412293006, 0.22111273412293006, 0.08134282906503322],
        ),
        ("one sample", usual, [&[2.0], &[1.0], &[0.5]], &[1.0]),
    ];
    for (name, settings, [earliest, weak, strong], want) in cases {
        let got = curriculum::brownboost(earliest, weak, strong, &settings).unwrap();
        assert_eq!(got.len(), want.len(), "{name}");
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((got - want).abs() <= 1e-12 * want, "{name}: weight {i}: got {got}, want {want}");
        }
    }
}

#[test]
fn what_brownboost_cannot_weigh_is_refused() {
    const ONE: &[f64] = &[1.0];
    let usual = Brownboost::default();
    let with = |settings| (settings, [ONE; 3]);
    for ((settings, [earliest, weak, strong]), want) in [
        ((usual, [&[1.0, 2.0], ONE, ONE]), "2 entropies of the earliest model but 1 of the strong one"),
        ((usual, [ONE, &[], ONE]), "0 entropies of the weak model but 1 of the strong one"),
        ((usual, [&[-0.5], ONE, ONE]), "sample 0: the earliest model's entropy is -0.5"),
        ((usual, [ONE, &[f64::NAN], ONE]), "sample 0: the weak model's entropy is NaN"),
        ((usual, [ONE, ONE, &[f64::INFINITY]]), "sample 0: the strong model's entropy is inf"),
        ((usual, [&[], &[], &[]]), "all 0 weights are zero"),
        (with(Brownboost { alpha: -1.0, ..usual }), "alpha is -1; it must be finite and 0 or more"),
        (with(Brownboost { beta: f64::NAN, ..usual }), "beta is NaN"),
        (with(Brownboost { gamma: f64::INFINITY, ..usual }), "gamma is inf"),
        (with(Brownboost { lambda_time: -1.0, ..usual }), "lambda_time is -1"),
        (with(Brownboost { lambda_easy: f64::NAN, ..usual }), "lambda_easy is NaN"),
        (with(Brownboost { easy_quantile: -0.1, ..usual }), "easy_quantile is -0.1; a quantile lies between 0 and 1"),
        (with(Brownboost { hard_quantile: f64::NAN, ..usual }), "hard_quantile is NaN"),
        (with(Brownboost { hard_quantile: 0.2, ..usual }), "easy_quantile is 0.2; it must be below hard_quantile"),
        (
            (Brownboost { beta: 1e300, ..usual }, [&[9.0, 9.0], &[1.0, 1.0], &[1.0, 2.0]]),
            "the weights sum to inf; choose smaller coefficients",
        ),
        (
            (Brownboost { alpha: 1e300, beta: 1e300, ..usual }, [&[9.0, 9.0], &[1.0, 1.0], &[1.0, 2.0]]),
            "the weights sum to NaN",
        ),
    ] {
        let got = curriculum::brownboost(earliest, weak, strong, &settings).unwrap_err().to_string();
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

    for (entropy_earliest, field) in [(None, ""), (Some(0.9), "\"entropy_earliest\":0.9,")] {
        let rows =
            vec![CurriculumRow { idx: 3, weight: 1.0, entropy_earliest, entropy_weak: 0.7, entropy_strong: 0.2 }];
        curriculum::write_curriculum(&files.path("c.jsonl"), &rows).unwrap();
        assert_eq!(curriculum::read_curriculum(&files.path("c.jsonl")).unwrap(), rows);
        let text = fs::read_to_string(files.path("c.jsonl")).unwrap();
        let want = format!("{{\"idx\":3,\"weight\":1.0,{field}\"entropy_weak\":0.7,\"entropy_strong\":0.2}}\n");
        assert_eq!(text, want);
        files.text("more.jsonl", &text.replace('}', ",\"of_another_program\":[]}"));
        assert_eq!(curriculum::read_curriculum(&files.path("more.jsonl")).unwrap(), rows);
        fs::remove_file(files.path("more.jsonl")).unwrap();
    }
    assert_eq!(fs::read_dir(files.folder.path()).unwrap().count(), 2, "nothing is left beside the files");
}

#[test]
fn a_rule_reads_its_files_from_the_oldest_to_the_newest() {
    let settings = Brownboost { alpha: 0.5, ..Brownboost::default() };
    let brownboost = Rule::Brownboost(settings);
    let files = Files::new();
    let [a, b, c] = [
        files.entropies("a.jsonl", &[(7, 2.0), (5, 1.0), (9, 4.0)]),
        files.entropies("b.jsonl", &[(9, 2.0), (7, 1.0), (5, 2.5)]),
        files.entropies("c.jsonl", &[(5, 0.5), (9, 1.5), (7, 0.25)]),
    ];
    let (of_a, of_b, of_c) = ([2.0, 1.0, 4.0], [1.0, 2.5, 2.0], [0.25, 0.5, 1.5]);
    let boosted = curriculum::brownboost(&of_a, &of_b, &of_c, &settings).unwrap();
    let published = curriculum::weights(&of_a, &of_b, 0.1, 0.8, 0.1).unwrap();
    type Case<'a> = (&'a Rule, &'a [&'a Path], &'a [f64], Option<[f64; 3]>, [[f64; 3]; 2]);
    let cases: [Case; 6] = [
        (&WMSS, &[&a, &b], &published, None, [of_a, of_b]),
        (&brownboost, &[&a, &b, &c], &boosted, Some(of_a), [of_b, of_c]),
        (&Rule::Uniform, &[&a], &[1.0 / 3.0; 3], None, [of_a, of_a]),
        (&Rule::Uniform, &[&a, &b], &[1.0 / 3.0; 3], None, [of_a, of_b]),
        (&Rule::Uniform, &[&a, &b, &c], &[1.0 / 3.0; 3], Some(of_a), [of_b, of_c]),
        (&Rule::Uniform, &[&a, &b, &b, &c], &[1.0 / 3.0; 3], Some(of_a), [of_b, of_c]),
    ];
    for (rule, paths, weights, earliest, [weak, strong]) in cases {
        let rows = curriculum::from_files(rule, paths).unwrap();
        let got: Vec<_> =
            rows.iter().map(|row| (row.idx, row.entropy_earliest, row.entropy_weak, row.entropy_strong)).collect();
        let want = |idx, i: usize| (idx, earliest.map(|e| e[i]), weak[i], strong[i]);
        assert_eq!(got, [want(7, 0), want(5, 1), want(9, 2)], "{rule:?}");
        assert_close(&rows.iter().map(|row| row.weight).collect::<Vec<_>>(), weights);
    }
}

#[test]
fn another_number_of_files_than_the_rule_reads_is_refused() {
    let brownboost = Rule::Brownboost(Brownboost::default());
    let files = Files::new();
    let file = files.entropies("e.jsonl", &[(1, 1.0)]);
    for (rule, given, want) in [
        (WMSS, 0, "wmss reads 2 files of entropies: of the weak model and of the strong one; got 0"),
        (WMSS, 1, "wmss reads 2 files of entropies: of the weak model and of the strong one; got 1"),
        (WMSS, 3, "wmss reads 2 files of entropies: of the weak model and of the strong one; got 3"),
        (brownboost, 2, "brownboost reads 3 files of entropies, the oldest first: of the model before the weak one"),
        (brownboost, 4, "brownboost reads 3 files of entropies"),
        (Rule::Uniform, 0, "uniform reads a file of entropies of any model, to know the samples; got 0"),
    ] {
        let error = curriculum::from_files(&rule, &vec![file.as_path(); given]).unwrap_err();
        assert!(error.to_string().starts_with(want), "got  {error}\nwant {want}");
        assert!(matches!(error, Error::Argument(_)), "{error}");
    }
}

#[test]
fn a_sample_that_not_every_file_has_is_named() {
    let files = Files::new();
    let more = files.entropies("more.jsonl", &[(1, 1.0), (3, 1.0), (2, 1.0)]);
    let less = files.entropies("less.jsonl", &[(1, 1.0), (3, 1.0)]);
    for paths in [vec![&more, &less], vec![&less, &more], vec![&less, &less, &more], vec![&more, &more, &less]] {
        let paths: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
        match curriculum::from_files(&Rule::Uniform, &paths).unwrap_err() {
            Error::Malformed { path, problem } => {
                assert_eq!(path, less);
                let want = format!("has no row for sample idx 2, which {} has", more.display());
                assert!(problem.starts_with(&want), "{problem}");
            }
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
        (format!("{ROW}{{\"idx\": 5, \"entropy\": NaN, \"loss\": 1.0, \"tokens\": 3}}\n"), 2, "expected value"),
        (
            format!("{ROW}{{\"idx\": 5, \"entropy\": 1e999, \"loss\": 1.0, \"tokens\": 3}}\n"),
            2,
            "number out of range",
        ),
        (
            format!("{ROW}{{\"idx\": 5, \"entropy\": -1, \"loss\": 1.0, \"tokens\": 3}}\n"),
            2,
            "sample idx 5: entropy is -1",
        ),
        (format!("{ROW}{{\"idx\": -5, \"entropy\": 1, \"loss\": 1.0, \"tokens\": 3}}\n"), 2, "invalid value"),
        (format!("{ROW}{{\"idx\": 5, \"entr"), 2, "EOF while parsing"),
        (format!("{ROW}\u{fffd}\n"), 2, "expected value"),
        (format!("{ROW}{ROW}"), 2, "sample idx 4 stands there a second time (first in line 1)"),
        (long, 2, "the line has more than 65536 bytes"),
    ] {
        let path = files.text("rows.jsonl", &text);
        let got = curriculum::read_entropies(&path).unwrap_err().to_string();
        let want = format!("{}, line {line}: {want}", path.display());
        assert!(got.starts_with(&want), "got  {got}\nwant {want}");
    }
    let empty = files.text("empty.jsonl", "\n\n");
    assert!(
        matches!(curriculum::read_entropies(&empty).unwrap_err(), Error::Malformed { path, .. } if path == empty)
    );
    let absent = files.path("absent.jsonl");
    assert!(matches!(curriculum::read_entropies(&absent).unwrap_err(), Error::Io { path, .. } if path == absent));
    let zero = files.text("zero.jsonl", "{\"idx\":1,\"weight\":0,\"entropy_weak\":0,\"entropy_strong\":0}");
    let got = curriculum::read_curriculum(&zero).unwrap_err().to_string();
    assert!(got.starts_with("all 1 weights are zero"), "{got}");
    for (weight, want) in
        [("NaN", "expected value"), ("null", "invalid type: null"), ("-1", "sample idx 1: weight is -1")]
    {
        let row = format!("{{\"idx\":1,\"weight\":{weight},\"entropy_weak\":0,\"entropy_strong\":0}}");
        let path = files.text("weights.jsonl", &row);
        let got = curriculum::read_curriculum(&path).unwrap_err().to_string();
        let want = format!("{}, line 1: {want}", path.display());
        assert!(got.starts_with(&want), "got  {got}\nwant {want}");
    }
}

/// Candidates `a`, `b`, ... with these losses and amplifications.
fn candidates(measured: &[(f64, f64)]) -> Vec<Candidate> {
    let candidate = |(i, (loss, amplification)): (usize, &(f64, f64))| Candidate {
        name: char::from(b'a' + i as u8).to_string(),
        loss: *loss,
        entropy: 2.0,
        amplification: *amplification,
    };
    measured.iter().enumerate().map(candidate).collect()
}

#[test]
fn the_weak_model_is_the_weaker_one_that_amplifies_most() {
    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;
    for (name, measured, want) in [
        ("the only one", &[(2.0, 0.5)][..], 0),
        ("the largest, not the first, the last or the weakest", &[(4.0, 1.1), (2.0, 1.9), (3.0, 1.5)], 1),
        ("of equals the first", &[(2.0, 1.2), (3.0, 1.5), (2.0, 1.5)], 1),
        ("a stronger one is none", &[(0.5, 9.0), (2.0, 1.1)], 1),
        ("one as strong is none", &[(1.0, 9.0), (2.0, 1.1)], 1),
        ("a loss that is no number", &[(NAN, 9.0), (INF, 9.0), (2.0, 1.1)], 2),
        ("an amplification that is no number", &[(2.0, NAN), (2.0, INF), (2.0, 1.1)], 2),
    ] {
        assert_eq!(curriculum::choose_weak(&candidates(measured), 1.0).unwrap(), want, "{name}");
    }
}

#[test]
fn where_nothing_is_weaker_the_numbers_are_listed() {
    for (measured, strong_loss, want) in [
        (
            &[(0.5, 1.25), (f64::NAN, 2.0)][..],
            1.0,
            "above the strong model's 1.0000, and its amplification finite; give an earlier checkpoint, train the \
             strong model further, or name the weak model yourself. The candidates:\
             \n  a: loss 0.5000, entropy 2.0000, amplification 1.2500\
             \n  b: loss NaN, entropy 2.0000, amplification 2.0000",
        ),
        (&[(2.0, 1.5)], f64::NAN, "above the strong model's NaN"),
        (&[], 1.0, "The candidates:\n  none was given"),
    ] {
        let error = curriculum::choose_weak(&candidates(measured), strong_loss).unwrap_err();
        assert!(error.to_string().contains(want), "got  {error}\nwant {want}");
    }
}
