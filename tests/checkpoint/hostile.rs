//! Files from strangers and files from broken downloads: a typed error that names them, never more.

use std::path::Path;

use serde_json::json;
use underdog::formats::{Dtype, Error, Folder, ReadTensors, SHARD_BYTES, TensorSource, read_tokenizer};

use crate::support::{entries, entry, raw, refusal, save};

/// The error of opening a folder that holds one `model.safetensors`.
fn single(header: &str, data: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    raw(&folder.path().join("model.safetensors"), header, data);
    refusal(Folder::open(folder.path()), folder.path())
}

/// The error of opening a folder with an index of this `weight_map`, beside one whole shard with tensor `a`.
fn indexed(weight_map: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for shard in ["../outside.safetensors", "s.safetensors", "t.safetensors"] {
        let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        raw(&model.join(shard), header, &[0; 4]);
    }
    std::fs::write(model.join("model.safetensors.index.json"), format!(r#"{{"weight_map":{weight_map}}}"#)).unwrap();
    refusal(Folder::open(&model), &model)
}

#[test]
fn damaged_headers_are_refused() {
    let tensor = |body: &str| format!(r#"{{"a":{{{body}}}}}"#);
    for (header, data, wants) in [
        ("".to_string(), 0, "damaged header"),
        ("[]".into(), 0, "damaged header"),
        ("{".into(), 0, "damaged header"),
        ("[".repeat(100_000), 0, "damaged header"),
        (format!(r#"{{"a":{}"#, "[".repeat(100_000)), 0, "damaged header"),
        (tensor(r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#), 4, "damaged header"),
        (tensor(r#""dtype":"F32","shape":[1],"data_offsets":[4,8]"#), 8, "damaged header"),
        (tensor(r#""dtype":"F32","shape":[1],"data_offsets":[4,0]"#), 8, "damaged header"),
        (tensor(r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#), 4, "damaged header"),
        (tensor(r#""dtype":"Q4","shape":[1],"data_offsets":[0,4]"#), 4, "unknown variant"),
        (
            tensor(r#""dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,0]"#),
            0,
            "damaged header",
        ),
        (
            tensor(r#""dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]"#),
            0,
            "damaged header",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#
                .into(),
            8,
            "`a` stands there twice",
        ),
        (tensor(r#""dtype":"F32","shape":[1],"data_offsets":[0,4]"#), 3, "promises"),
        (tensor(r#""dtype":"F32","shape":[1],"data_offsets":[0,4]"#), 5, "promises"),
    ] {
        let message = single(&header, &vec![0; data]);
        assert!(message.starts_with("DIR/model.safetensors: "), "{message}");
        assert!(message.contains(wants), "{message} lacks {wants}");
    }
}

#[test]
fn a_huge_header_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for length in [u64::MAX, 1 << 40, (32 << 20) + 1] {
        std::fs::write(&path, length.to_le_bytes()).unwrap();
        let message = refusal(Folder::open(folder.path()), folder.path());
        assert!(message.contains(&format!("a header of {length} bytes")), "{message}");
    }
    for (bytes, wants) in
        [(&[][..], "0 bytes where"), (&[1, 0, 0], "3 bytes where"), (&[9, 0, 0, 0, 0, 0, 0, 0], "17")]
    {
        std::fs::write(&path, bytes).unwrap();
        let message = refusal(Folder::open(folder.path()), folder.path());
        assert!(message.contains(wants), "{message} lacks {wants}");
    }
}

#[test]
fn every_truncation_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    save(&out, Dtype::F32, SHARD_BYTES).unwrap();
    let path = out.join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let Err(Error::Length { expected, actual, .. }) = Folder::open(&out) else { panic!("{length} passed") };
        assert!(actual == length as u64 && expected > actual, "{length}: {expected} {actual}");
    }
    std::fs::write(&path, &whole).unwrap();
    let model = Folder::open(&out).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let shrunk = refusal(model.read_vec("lm_head.weight", &[3, 4]), &out);
    assert!(shrunk.starts_with("cannot read DIR/model.safetensors: "), "{shrunk}");
}

#[test]
fn an_index_cannot_lead_elsewhere() {
    for shard in [
        "../outside.safetensors",
        "/etc/passwd",
        "/tmp/x.safetensors",
        "..",
        "",
        "sub/s.safetensors",
        "sub\\\\s.safetensors",
        "C:s.safetensors",
        "s.bin",
        "s.safetensors\\u0000",
    ] {
        let message = indexed(&format!(r#"{{"a":"{shard}"}}"#));
        assert!(message.contains("is not the name of a shard in this folder"), "{shard}: {message}");
    }
    for (map, wants) in [
        (r#"{"a":"missing.safetensors"}"#, "cannot read DIR/missing.safetensors"),
        (r#"{"b":"s.safetensors"}"#, "`b` is not in s.safetensors"),
        (r#"{"a":"s.safetensors","a":"s.safetensors"}"#, "`a` stands there twice"),
        (r#"{"a":"s.safetensors","b":"t.safetensors"}"#, "tensor `a` stands in DIR/s.safetensors as well"),
        (r#"{"a":1}"#, "index.json: "),
        ("[]", "index.json: "),
    ] {
        let message = indexed(map);
        assert!(message.contains(wants), "{map}: {message}");
    }
}

#[test]
fn what_the_model_needs_is_checked_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    save(&out, Dtype::F32, SHARD_BYTES).unwrap();
    let model = Folder::open(&out).unwrap();
    model.check(&entries()[..1]).unwrap();
    let mut needs = entries();
    needs.extend([entry("x.weight", &[1]), entry("y.weight", &[1])]);
    let message = refusal(model.check(&needs), &out);
    assert!(message.starts_with("DIR: tensor `x.weight` is missing (and 1 more)"), "{message}");
    let mut needs = entries();
    needs[1].dims = vec![6];
    let message = refusal(model.check(&needs), &out);
    let wants = "DIR/model.safetensors: tensor `model.norm.weight` has shape [5], the model needs [6]";
    assert_eq!(message, wants);
    assert_eq!(refusal(model.read_vec("model.norm.weight", &[6]), &out), wants);
}

#[test]
fn other_types_and_numbers_that_are_none_are_refused_when_needed() {
    let folder = tempfile::tempdir().unwrap();
    let header = json!({
        "i": { "dtype": "I64", "shape": [1], "data_offsets": [0, 8] },
        "n": { "dtype": "F32", "shape": [2], "data_offsets": [8, 16] },
        "h": { "dtype": "F16", "shape": [1], "data_offsets": [16, 18] },
    });
    let mut data = vec![0; 12];
    data.extend(f32::NAN.to_le_bytes());
    data.extend([0x00, 0x7c]);
    raw(&folder.path().join("model.safetensors"), &header.to_string(), &data);
    let model = Folder::open(folder.path()).unwrap();
    for (name, dims, wants) in [
        ("i", &[1], "tensor `i` is stored as I64; F32, F16 and BF16 can be read"),
        ("n", &[2], "tensor `n` holds NaN at index 1"),
        ("h", &[1], "tensor `h` holds inf at index 0"),
    ] {
        let message = refusal(model.read_vec(name, dims), folder.path());
        assert!(message.starts_with("DIR/model.safetensors: ") && message.contains(wants), "{message}");
    }
}

#[test]
fn a_folder_without_weights_says_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let message = refusal(Folder::open(folder.path()), folder.path());
    assert!(message.contains("neither model.safetensors nor model.safetensors.index.json"), "{message}");
    std::fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    let message = refusal(Folder::open(folder.path()), folder.path());
    assert!(message.contains("pytorch_model.bin, but PyTorch pickles are not read"), "{message}");
    let message = refusal(Folder::open(Path::new("no/such/folder")), folder.path());
    assert!(message.starts_with("cannot read no/such/folder: "), "{message}");
    std::fs::create_dir(folder.path().join("model.safetensors")).unwrap();
    assert!(Folder::open(folder.path()).is_err());
}

#[cfg(unix)]
#[test]
fn links_may_leave_the_folder_for_weights_but_not_for_copied_files() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let (cache, secret) = (folder.path().join("models--x"), folder.path().join("secret"));
    let snapshot = cache.join("snapshots/abc");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir(cache.join("blobs")).unwrap();
    std::fs::write(cache.join("blobs/1"), "{}").unwrap();
    std::fs::write(&secret, "secret").unwrap();

    symlink("../../blobs/1", snapshot.join("tokenizer.json")).unwrap();
    let tokenizer = read_tokenizer(&snapshot).unwrap();
    assert_eq!(tokenizer.names().collect::<Vec<_>>(), ["tokenizer.json"]);

    for target in [Path::new("../../../secret"), &secret, Path::new("nowhere"), Path::new("/dev/zero")] {
        let link = snapshot.join("merges.txt");
        symlink(target, &link).unwrap();
        let message = refusal(read_tokenizer(&snapshot), &snapshot);
        assert!(message.contains("merges.txt"), "{message}");
        std::fs::remove_file(link).unwrap();
    }

    let weights = folder.path().join("weights");
    save(&weights, Dtype::F32, SHARD_BYTES).unwrap();
    symlink(weights.join("model.safetensors"), snapshot.join("model.safetensors")).unwrap();
    Folder::open(&snapshot).unwrap().check(&entries()).unwrap();
    let zero = folder.path().join("zero");
    std::fs::create_dir(&zero).unwrap();
    symlink("/dev/zero", zero.join("model.safetensors")).unwrap();
    assert!(refusal(Folder::open(&zero), &zero).contains("not a regular file"));
}

/// Opening a FIFO waits for a writer, so it is refused before.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_by_name_before_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    save(&out, Dtype::F32, SHARD_BYTES).unwrap();
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        let path = out.join(name);
        let opened = Folder::open(&out).ok();
        let _ = std::fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let text = match name {
            "config.json" => refusal(opened.unwrap().config(), &out),
            "tokenizer.json" => refusal(read_tokenizer(&out), &out),
            _ => refusal(Folder::open(&out), &out),
        };
        assert_eq!(text, format!("cannot read DIR/{name}: not a regular file"));
        std::fs::remove_file(&path).unwrap();
        save(&folder.path().join("other"), Dtype::F32, SHARD_BYTES).unwrap();
        std::fs::rename(folder.path().join("other/model.safetensors"), out.join("model.safetensors")).unwrap();
        std::fs::remove_dir_all(folder.path().join("other")).unwrap();
    }
}
