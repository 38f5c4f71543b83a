//! What is written is what is read, in every type, in one file and in shards.

use std::collections::HashMap;

use half::{bf16, f16};
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use underdog::formats::{
    BoxError, Dtype, Entry, Error, Folder, ModelFiles, ReadTensors, SHARD_BYTES, TensorSource, TokenizerFiles,
    check_vacant, read_tokenizer,
};

use crate::support::{CONFIG, entries, entry, given, names, opened, refusal, save, save_model, values};

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn f32_comes_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("deep/er/model");
    save(&out, Dtype::F32, SHARD_BYTES).unwrap();
    assert_eq!(names(&out), ["config.json", "model.safetensors"]);
    let model = opened(&out);
    model.check(&entries()).unwrap();
    for entry in entries() {
        assert_eq!(bits(&model.read_vec(&entry.name, &entry.dims).unwrap()), bits(&values(&entry)));
    }
}

#[test]
fn bf16_is_rounded_to_nearest_even() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    save(&out, Dtype::Bf16, SHARD_BYTES).unwrap();
    let model = opened(&out);
    for entry in entries() {
        assert_eq!(model.tensor(&entry.name).unwrap().1.dtype, safetensors::Dtype::BF16);
        let rounded: Vec<f32> = values(&entry).iter().map(|v| bf16::from_f32(*v).to_f32()).collect();
        assert_eq!(bits(&model.read_vec(&entry.name, &entry.dims).unwrap()), bits(&rounded));
    }
}

#[test]
fn every_f16_and_bf16_value_is_widened_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let halves: Vec<u16> = all.iter().copied().filter(|b| f16::from_bits(*b).is_finite()).collect();
    let brains: Vec<u16> = all.iter().copied().filter(|b| bf16::from_bits(*b).is_finite()).collect();
    let bytes = |bits: &[u16]| bits.iter().flat_map(|b| b.to_le_bytes()).collect::<Vec<u8>>();
    let (half_bytes, brain_bytes) = (bytes(&halves), bytes(&brains));
    let views = [
        ("h", TensorView::new(safetensors::Dtype::F16, vec![halves.len()], &half_bytes).unwrap()),
        ("b", TensorView::new(safetensors::Dtype::BF16, vec![brains.len()], &brain_bytes).unwrap()),
    ];
    safetensors::serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    let model = opened(folder.path());
    let wants: Vec<f32> = halves.iter().map(|b| f16::from_bits(*b).to_f32()).collect();
    assert_eq!(bits(&model.read_vec("h", &[halves.len()]).unwrap()), bits(&wants));
    let wants: Vec<f32> = brains.iter().map(|b| bf16::from_bits(*b).to_f32()).collect();
    assert_eq!(bits(&model.read_vec("b", &[brains.len()]).unwrap()), bits(&wants));
}

#[test]
fn the_reference_crate_reads_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    save(&out, Dtype::F32, SHARD_BYTES).unwrap();
    let bytes = std::fs::read(out.join("model.safetensors")).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!((header + 8) % 8, 0);
    assert_eq!(metadata.metadata(), &Some(HashMap::from([("format".into(), "pt".into())])));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), 3);
    for entry in entries() {
        let tensor = tensors.tensor(&entry.name).unwrap();
        let wants: Vec<u8> = values(&entry).iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!((tensor.shape(), tensor.data()), (&entry.dims[..], &wants[..]));
    }
}

#[test]
fn shards_hold_what_fits_and_the_index_finds_all() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    // 96, 20 and 48 bytes: the first is larger than a shard, the others share one.
    save(&out, Dtype::F32, 70).unwrap();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    assert_eq!(names(&out), ["config.json", shards[0], shards[1], "model.safetensors.index.json"]);
    let index: Value =
        serde_json::from_slice(&std::fs::read(out.join("model.safetensors.index.json")).unwrap()).unwrap();
    let map = json!({
        "model.embed_tokens.weight": shards[0], "model.norm.weight": shards[1], "lm_head.weight": shards[1]
    });
    assert_eq!(index, json!({ "metadata": { "total_size": 164 }, "weight_map": map }));
    let model = opened(&out);
    for entry in entries() {
        assert_eq!(model.read_vec(&entry.name, &entry.dims).unwrap(), values(&entry));
    }
}

#[test]
fn a_large_tensor_comes_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let (out, large) = (folder.path().join("model"), entry("w", &[3, 700_001]));
    let tokenizer = TokenizerFiles::default();
    let entries = [large.clone()];
    let model = ModelFiles { config_json: "{}", architecture: "A", tokenizer: &tokenizer, entries: &entries };
    save_model(&out, &model, Dtype::F32, SHARD_BYTES, given).unwrap();
    let (mut pieces, mut all) = (0, Vec::new());
    opened(&out)
        .read_f32("w", &large.dims, |at, piece| {
            assert_eq!(at, all.len());
            all.extend_from_slice(piece);
            pieces += 1;
        })
        .unwrap();
    assert_eq!(pieces, 33);
    assert_eq!(bits(&all), bits(&values(&large)));
}

#[test]
fn a_headless_base_model_lacks_the_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let base = entry("norm.weight", &[5]);
    let tokenizer = TokenizerFiles::default();
    let entries = [base.clone()];
    let model = ModelFiles { config_json: "{}", architecture: "A", tokenizer: &tokenizer, entries: &entries };
    let out = folder.path().join("model");
    save_model(&out, &model, Dtype::F32, SHARD_BYTES, given).unwrap();
    let model = opened(&out);
    assert_eq!(model.read_vec("model.norm.weight", &[5]).unwrap(), values(&base));
    assert!(model.tensor("other.norm.weight").is_none());
}

#[test]
fn the_config_gets_class_and_type_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = TokenizerFiles::default();
    let saved = |name: &str, config_json: &str, dtype| {
        let model = ModelFiles { config_json, architecture: "X", tokenizer: &tokenizer, entries: &[] };
        let out = folder.path().join(name);
        save_model(&out, &model, dtype, SHARD_BYTES, given).unwrap();
        let text = std::fs::read_to_string(out.join("config.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap().to_string()
    };
    let old = saved("a", r#"{"z":1,"architectures":["Y"],"torch_dtype":"float16","a":1e-6}"#, Dtype::Bf16);
    assert_eq!(old, r#"{"z":1,"architectures":["X"],"torch_dtype":"bfloat16","a":1e-6}"#);
    let new = saved("b", r#"{"dtype":"bfloat16"}"#, Dtype::F32);
    assert_eq!(new, r#"{"dtype":"float32","architectures":["X"]}"#);
    let neither = saved("c", "{}", Dtype::F32);
    assert_eq!(neither, r#"{"architectures":["X"],"torch_dtype":"float32"}"#);
}

#[test]
fn tokenizers_are_copied_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("source"), folder.path().join("out"));
    std::fs::create_dir(&source).unwrap();
    for name in ["tokenizer.json", "chat_template.jinja", "merges.txt", "notes.txt", "model.py"] {
        std::fs::write(source.join(name), format!("{name}\r\n\u{feff}")).unwrap();
    }
    let tokenizer = read_tokenizer(&source).unwrap();
    let entries = entries();
    let model = ModelFiles { config_json: CONFIG, architecture: "X", tokenizer: &tokenizer, entries: &entries };
    save_model(&out, &model, Dtype::F32, SHARD_BYTES, given).unwrap();
    let wants = ["chat_template.jinja", "config.json", "merges.txt", "model.safetensors", "tokenizer.json"];
    assert_eq!(names(&out), wants);
    assert_eq!(std::fs::read_to_string(out.join("merges.txt")).unwrap(), "merges.txt\r\n\u{feff}");
}

#[test]
fn a_folder_that_is_there_is_joined_but_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("metrics.jsonl"), "{}").unwrap();
    check_vacant(&out).unwrap();
    save(&out, Dtype::F32, SHARD_BYTES).unwrap();
    assert_eq!(names(&out), ["config.json", "metrics.jsonl", "model.safetensors"]);
    let before = std::fs::read(out.join("model.safetensors")).unwrap();
    let message = refusal(save(&out, Dtype::Bf16, SHARD_BYTES), &out);
    assert!(message.contains("is already there; nothing was overwritten"), "{message}");
    assert_eq!(std::fs::read(out.join("model.safetensors")).unwrap(), before);
    for name in ["tokenizer.json", "model-00001-of-00002.safetensors"] {
        let other = folder.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join(name), "").unwrap();
        assert!(matches!(check_vacant(&other), Err(Error::Exists { path }) if path.ends_with(name)));
        std::fs::remove_dir_all(other).unwrap();
    }
}

#[test]
fn a_failed_save_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let tokenizer = TokenizerFiles::default();
    let entries = entries();
    let model = ModelFiles { config_json: CONFIG, architecture: "X", tokenizer: &tokenizer, entries: &entries };
    let save = |dtype, read: &dyn Fn(&Entry) -> Result<Vec<f32>, BoxError>| {
        refusal(save_model(&out, &model, dtype, SHARD_BYTES, read), folder.path())
    };
    let second = |entry: &Entry, value: f32| {
        let mut all = values(entry);
        all[4] = if entry.dims.len() == 1 { value } else { all[4] };
        Ok(all)
    };
    for (message, wants) in [
        (save(Dtype::F32, &|entry| second(entry, f32::NAN)), "`model.norm.weight` holds NaN at index 4"),
        (save(Dtype::Bf16, &|entry| second(entry, f32::INFINITY)), "`model.norm.weight` holds inf at index 4"),
        (save(Dtype::Bf16, &|entry| second(entry, f32::MAX)), "no finite number as stored"),
        (save(Dtype::F32, &|entry| Ok(values(entry)[1..].to_vec())), "23 values came, 24 are needed"),
        (save(Dtype::F32, &|_| Err("device lost".into())), "`model.embed_tokens.weight` to save them: device lost"),
    ] {
        assert!(message.contains(wants), "{message} lacks {wants}");
        assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    }
}

#[test]
fn a_killed_save_is_swept_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    for name in [".model.tmp-999-0", ".models.tmp-999-0"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("config.json"), "half").unwrap();
    }
    save(&out, Dtype::F32, SHARD_BYTES).unwrap();
    assert_eq!(names(folder.path()), [".models.tmp-999-0", "model"]);
}

#[test]
fn an_empty_tensor_and_an_empty_model_are_files_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = TokenizerFiles::default();
    for (name, entries) in [("a", vec![]), ("b", vec![entry("w", &[0, 4]), entry("s", &[])])] {
        let model = ModelFiles { config_json: "{}", architecture: "A", tokenizer: &tokenizer, entries: &entries };
        let out = folder.path().join(name);
        save_model(&out, &model, Dtype::F32, SHARD_BYTES, given).unwrap();
        let folder = Folder::open(&out).unwrap();
        for entry in &entries {
            assert_eq!(folder.read_vec(&entry.name, &entry.dims).unwrap(), values(entry));
        }
    }
}
