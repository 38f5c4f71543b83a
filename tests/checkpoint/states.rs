//! Kept hidden states: what is written comes back rounded, a stopped file goes on with the same bytes, and a file that is cut,
//! flipped or of something else is refused and stays as it is.

use std::{fs, path::Path};

use half::bf16;
use underdog::formats::{States, StatesOf, StatesWriter};

use crate::support::{names, refusal};

fn of() -> StatesOf {
    StatesOf { model: "model".into(), data: "data".into(), width: 3, samples: vec![(4, 2), (0, 0), (9, 5)] }
}

/// Needs more bits than a bf16 has.
fn values(sample: u64, count: usize) -> Vec<f32> {
    (0..count * 3).map(|i| (sample as f32 + i as f32 * 1.7).sin() * 3.0).collect()
}

fn write(path: &Path, samples: usize) -> StatesWriter {
    let mut writer = StatesWriter::open(path, of()).unwrap();
    for (number, count) in &of().samples[writer.done()..samples] {
        writer.push(&values(*number, *count)).unwrap();
    }
    writer.flush().unwrap();
    writer
}

fn whole(folder: &Path) -> Vec<u8> {
    let path = folder.join("s");
    write(&path, 3).finish().unwrap();
    fs::read(path).unwrap()
}

#[test]
fn states_come_back_rounded_to_bf16() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    assert!(States::open(&path, &of()).unwrap().is_none());
    let made = write(&path, 3).finish().unwrap();
    assert_eq!(names(folder.path()), ["s"]);
    assert_eq!(fs::metadata(&path).unwrap().len(), of().file_bytes());
    for states in [made, States::open(&path, &of()).unwrap().unwrap()] {
        for (number, count) in of().samples.into_iter().rev() {
            let mut bytes = vec![7];
            states.read(number, &mut bytes).unwrap();
            let rounded: Vec<u8> =
                values(number, count).iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
            assert_eq!(bytes[1..], rounded, "sample {number}");
        }
        let mut bytes = Vec::new();
        states.read(5, &mut bytes).unwrap();
        assert!(bytes.is_empty(), "nothing is kept of sample 5");
    }
}

#[test]
fn a_stopped_file_goes_on_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = whole(folder.path());
    // Cut anywhere, even within the header or a record; or with a record that never reached the disk whole.
    for cut in (0..=wanted.len()).step_by(3) {
        for flipped in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let mut bytes = wanted[..cut].to_vec();
            if flipped && cut > 128 {
                bytes[cut - 1] ^= 1;
            }
            fs::write(folder.path().join("s.part"), bytes).unwrap();
            let path = folder.path().join("s");
            write(&path, 3).finish().unwrap();
            assert_eq!(fs::read(path).unwrap(), wanted, "cut after {cut} bytes");
            assert_eq!(names(folder.path()), ["s"]);
        }
    }
}

#[test]
fn a_file_that_is_cut_flipped_or_longer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (wanted, path) = (whole(folder.path()), folder.path().join("s"));
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let error = refusal(States::open(&path, &of()), folder.path());
        assert!(error.starts_with("DIR/s: ") && error.contains("nothing was overwritten"), "{what}: {error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}");
        error
    };
    for cut in 0..wanted.len() {
        assert!(refused(&wanted[..cut], "cut").contains("cut off"), "cut after {cut} bytes");
    }
    for at in 0..wanted.len() {
        let mut bytes = wanted.clone();
        bytes[at] ^= 0x10;
        let error = refused(&bytes, "flipped");
        let want = match at {
            0..8 => "no file of hidden states",
            8..128 => "header is damaged",
            128..156 => "idx 4 are damaged",
            156..172 => "idx 0 are damaged",
            _ => "idx 9 are damaged",
        };
        assert!(error.contains(want), "byte {at}: {error}");
    }
    assert!(refused(&[&wanted[..], b"x"].concat(), "longer").contains("behind its end"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(refusal(States::open(&path, &of()), folder.path()).contains("not a regular file"));
}

#[test]
fn states_of_something_else_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (wanted, path) = (whole(folder.path()), folder.path().join("s"));
    let other = |change: fn(&mut StatesOf)| {
        let mut other = of();
        change(&mut other);
        other
    };
    for (other, want) in [
        (other(|of| of.model.push('s')), "another model"),
        (other(|of| of.data.push('s')), "other samples"),
        (other(|of| of.width = 6), "other samples"),
        (other(|of| of.samples[0].0 = 5), "other samples"),
        (other(|of| of.samples.swap(0, 2)), "other samples"),
        (other(|of| of.samples[2].1 = usize::MAX >> 8), "other samples"),
    ] {
        let error = refusal(States::open(&path, &other), folder.path());
        assert!(error.contains(want), "{error}");
        let part = folder.path().join("s.part");
        fs::copy(&path, &part).unwrap();
        let error = refusal(StatesWriter::open(&path, other), folder.path());
        assert!(error.starts_with("DIR/s.part: ") && error.contains(want), "{error}");
        assert_eq!(fs::read(&part).unwrap(), wanted);
        fs::remove_file(part).unwrap();
    }
}

#[test]
fn what_cannot_be_kept_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut writer = StatesWriter::open(&path, of()).unwrap();
    assert!(refusal(writer.push(&[0.0; 5]), folder.path()).contains("5 numbers came"));
    let error = refusal(writer.push(&[0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0]), folder.path());
    assert!(error.contains("sample idx 4") && error.contains("NaN at index 2"), "{error}");
    assert!(refusal(writer.push(&[f32::MAX; 6]), folder.path()).contains("no finite number as stored"));
    assert!(refusal(write(&path, 1).finish(), folder.path()).contains("1 of 3 samples are written"));
    let done = write(&path, 3);
    fs::write(&path, "in the way").unwrap();
    assert!(refusal(done.finish(), folder.path()).contains("already there"));
    assert_eq!(fs::read(&path).unwrap(), b"in the way");
}
