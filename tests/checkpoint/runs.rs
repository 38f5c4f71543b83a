//! Checkpoints of a run: exact restores, kills, damage, pruning.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use underdog::formats::{
    BoxError, Contents, Entry, Error, ModelFiles, ReadTensors, Restored, Run, Saved, TensorFile, TokenizerFiles,
    latest, prune, save_run,
};

use crate::support::{CONFIG, entries, entry, names, values};

fn moments() -> Vec<Entry> {
    vec![entry("lm_head.weight.m", &[3, 4]), entry("lm_head.weight.v", &[3, 4])]
}

/// Saves a checkpoint whose state is its step; `read` may fail.
fn save_with(
    folder: &Path,
    step: u64,
    state: &Value,
    read: impl FnMut(&str, &Entry) -> Result<Vec<f32>, BoxError>,
) -> Result<PathBuf, Error> {
    let (entries, moments, tokenizer) = (entries(), moments(), TokenizerFiles::default());
    let model = ModelFiles { config_json: CONFIG, architecture: "X", tokenizer: &tokenizer, entries: &entries };
    let tensors = [TensorFile { stem: "optimizer", entries: &moments }];
    save_run(folder, &Run { step, contents: Contents::Model(model), tensors: &tensors, state }, read)
}

fn save(folder: &Path, step: u64) -> PathBuf {
    save_with(folder, step, &json!({ "step": step }), |_, entry| Ok(values(entry))).unwrap()
}

/// The step that a run would go on from, and how many newer checkpoints were passed over.
fn newest(folder: &Path) -> (Option<u64>, usize) {
    let latest = latest(folder).unwrap();
    (latest.found.map(|restored| restored.step), latest.skipped.len())
}

#[test]
fn a_checkpoint_comes_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let losses: Vec<f64> = (1..2000).map(|i| f64::from(i).ln()).collect();
    let state = json!({ "step": 7, "tiny": 5e-324, "losses": losses });
    let mut asked = Vec::new();
    let path = save_with(&run, 7, &state, |file, entry| {
        asked.push(format!("{file}:{}", entry.name));
        Ok(values(entry))
    })
    .unwrap();
    assert_eq!(
        asked,
        [
            "model:model.embed_tokens.weight",
            "model:model.norm.weight",
            "model:lm_head.weight",
            "optimizer:lm_head.weight.m",
            "optimizer:lm_head.weight.v"
        ]
    );
    assert_eq!(names(&run), ["checkpoint-7"]);
    let files = ["MANIFEST.json", "config.json", "model.safetensors", "optimizer.safetensors", "state.json"];
    assert_eq!(names(&path), files);

    let restored = Restored::open(&path).unwrap();
    assert_eq!((restored.step, &restored.path, &restored.state), (7, &path, &state));
    let Saved::Model(model) = &restored.saved else { panic!("{restored:?}") };
    for entry in entries() {
        assert_eq!(model.read_vec(&entry.name, &entry.dims).unwrap(), values(&entry));
    }
    let optimizer = restored.tensors("optimizer").unwrap();
    optimizer.check(&moments()).unwrap();
    for entry in moments() {
        assert_eq!(optimizer.read_vec(&entry.name, &entry.dims).unwrap(), values(&entry));
    }
    assert!(restored.tensors("weak").is_err());
}

#[test]
fn the_newest_is_by_number() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(newest(folder.path()), (None, 0));
    for step in [9, 100, 20] {
        save(folder.path(), step);
    }
    std::fs::write(folder.path().join("checkpoint-300"), "a file").unwrap();
    for name in ["checkpoint-0200", "checkpoint-+200", "checkpoint-", "checkpoint-x", "best"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    assert_eq!(newest(folder.path()), (Some(100), 0));
}

#[test]
fn damage_is_passed_over_and_told() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 9] = [
        ("SHA-256", |path| flip(&path.join("model.safetensors"), -1)),
        ("SHA-256", |path| flip(&path.join("optimizer.safetensors"), -5)),
        ("SHA-256", |path| flip(&path.join("state.json"), 2)),
        ("promises", |path| cut(&path.join("model.safetensors"))),
        ("promises", |path| std::fs::write(path.join("state.json"), "").unwrap()),
        ("cannot read", |path| std::fs::remove_file(path.join("optimizer.safetensors")).unwrap()),
        ("cannot read", |path| std::fs::remove_file(path.join("MANIFEST.json")).unwrap()),
        ("MANIFEST.json: ", |path| cut(&path.join("MANIFEST.json"))),
        ("is not the name of a file", |path| {
            let text = std::fs::read_to_string(path.join("MANIFEST.json")).unwrap();
            std::fs::write(path.join("MANIFEST.json"), text.replace("state.json", "../state.json")).unwrap();
        }),
    ];
    for (wants, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), 1);
        damage(&save(folder.path(), 2));
        let found = latest(folder.path()).unwrap();
        assert_eq!(found.found.unwrap().step, 1, "{wants}");
        let [skipped] = &found.skipped[..] else { panic!("{wants}: {:?}", found.skipped) };
        assert!(skipped.path.ends_with("checkpoint-2"));
        assert!(skipped.error.to_string().contains(wants), "{} lacks {wants}", skipped.error);
    }
}

/// Changes one bit, `at` bytes from the start, or from the end if negative.
fn flip(path: &Path, at: i64) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = usize::try_from(at).unwrap_or_else(|_| bytes.len() - at.unsigned_abs() as usize);
    bytes[at] ^= 1;
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&bytes[at..=at]).unwrap();
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
}

#[test]
fn a_kill_while_saving_leaves_the_previous_one() {
    let folder = tempfile::tempdir().unwrap();
    let whole = save(folder.path(), 1);
    // What a kill leaves: a hidden folder with some or all of its files, even the manifest.
    for (name, files) in [(".checkpoint-2.tmp-999-0", 2), (".checkpoint-2.tmp-999-1", 5)] {
        let half = folder.path().join(name);
        std::fs::create_dir(&half).unwrap();
        for file in names(&whole).iter().rev().take(files) {
            std::fs::copy(whole.join(file), half.join(file)).unwrap();
        }
    }
    assert_eq!(newest(folder.path()), (Some(1), 0));
    save(folder.path(), 3);
    assert_eq!(names(folder.path()), ["checkpoint-1", "checkpoint-3"]);
    assert_eq!(newest(folder.path()), (Some(3), 0));
}

#[test]
fn a_save_that_fails_leaves_the_previous_one() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), 1);
    for step in [1, 2] {
        let nan = save_with(folder.path(), step, &json!({}), |file, entry| {
            Ok(vec![if file == "optimizer" { f32::NAN } else { 0.5 }; entry.count()])
        });
        assert!(matches!(nan, Err(Error::NotFinite { name, .. }) if name == "lm_head.weight.m"));
        let lost = save_with(folder.path(), step, &json!({}), |_, _| Err("device lost".into()));
        assert!(matches!(lost, Err(Error::Source { .. })));
    }
    assert_eq!(names(folder.path()), ["checkpoint-1"]);
    assert_eq!(newest(folder.path()), (Some(1), 0));
}

#[test]
fn a_checkpoint_of_the_same_step_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), 4);
    save_with(folder.path(), 4, &json!("again"), |_, entry| Ok(values(entry))).unwrap();
    assert_eq!(names(folder.path()), ["checkpoint-4"]);
    assert_eq!(latest(folder.path()).unwrap().found.unwrap().state, json!("again"));
}

#[test]
fn a_folder_that_is_no_checkpoint_is_not_replaced_and_a_renamed_one_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("checkpoint-4")).unwrap();
    std::fs::write(folder.path().join("checkpoint-4/notes"), "mine").unwrap();
    let error = save_with(folder.path(), 4, &json!({}), |_, entry| Ok(values(entry))).unwrap_err();
    assert!(matches!(error, Error::Exists { path } if path.ends_with("checkpoint-4")));
    assert_eq!(names(&folder.path().join("checkpoint-4")), ["notes"]);
    std::fs::rename(save(folder.path(), 1), folder.path().join("checkpoint-9")).unwrap();
    save(folder.path(), 2);
    assert_eq!(newest(folder.path()), (Some(2), 2));
}

#[test]
fn pruning_keeps_the_newest_whole_ones_and_what_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    for step in [1, 2, 3, 10] {
        save(folder.path(), step);
    }
    cut(&save(folder.path(), 11).join("model.safetensors"));
    std::fs::create_dir(folder.path().join("checkpoint-0")).unwrap();
    std::fs::create_dir(folder.path().join(".checkpoint-3.tmp-999-7")).unwrap();
    let removed = prune(folder.path(), 2).unwrap();
    assert_eq!(removed, [folder.path().join("checkpoint-2"), folder.path().join("checkpoint-1")]);
    assert_eq!(names(folder.path()), ["checkpoint-0", "checkpoint-10", "checkpoint-11", "checkpoint-3"]);
    prune(folder.path(), 0).unwrap();
    assert_eq!(newest(folder.path()), (Some(10), 1));
}

#[cfg(unix)]
#[test]
fn links_are_no_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let (run, elsewhere) = (folder.path().join("run"), folder.path().join("elsewhere"));
    save(&run, 1);
    save(&elsewhere, 2);
    for name in ["checkpoint-2", ".checkpoint-2.tmp-1-1"] {
        std::os::unix::fs::symlink(elsewhere.join("checkpoint-2"), run.join(name)).unwrap();
    }
    assert_eq!(newest(&run), (Some(1), 0));
    prune(&run, 1).unwrap();
    assert_eq!(newest(&elsewhere), (Some(2), 0));
}

#[test]
fn callers_errors_need_no_boxing() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = TokenizerFiles::default();
    let model = ModelFiles { config_json: "{}", architecture: "X", tokenizer: &tokenizer, entries: &[] };
    let run = Run { step: 0, contents: Contents::Model(model), tensors: &[], state: &Value::Null };
    save_run(folder.path(), &run, |_, _| Ok::<_, Infallible>(Vec::new())).unwrap();
    assert_eq!(newest(folder.path()), (Some(0), 0));
}
