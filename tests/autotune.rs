//! The tuner: which variants of a kernel it refuses, which it takes, and what it remembers.

mod common;

#[path = "autotune/groups.rs"]
mod groups;

use std::{
    fs,
    path::{Path, PathBuf},
};

use groups::{DOUBLE, LINEAR, dispatch, linear};

use underdog::{
    gpu::{Extents, Gpu, Kernel, KernelGroup},
    kernels::tuner::{Cache, Effort, Entry, Message, Options},
    platform::tuning_cache,
};

const FULL: Options = Options { effort: Effort::Full, half: false, planned: 0 };

fn open() -> Gpu {
    underdog::platform::open(None).unwrap_or_else(|error| panic!("{error}"))
}

/// Chooses for some dispatches and returns the messages.
fn choose(
    gpu: &Gpu,
    group: &'static KernelGroup,
    work: &[(&'static Kernel, Extents)],
    options: Option<Options>,
    folder: Option<&Path>,
) -> Vec<Message> {
    let mut messages = Vec::new();
    let emit = |message| messages.push(message);
    tuning_cache::choose(gpu, [group], work.to_vec(), options, folder, || true, emit).unwrap();
    messages
}

/// The name of the chosen variant; the portable one has none.
fn chosen(gpu: &Gpu, group: &'static KernelGroup, extents: &Extents) -> Option<&'static str> {
    gpu.chosen(group, &(group.class)(&extents.params)).expect("a choice").map(|variant| variant.name)
}

fn cache(folder: &Path) -> PathBuf {
    fs::read_dir(folder).unwrap().next().expect("a file").unwrap().path()
}

fn entries(folder: &Path, gpu: &Gpu) -> Vec<Entry> {
    let (cache, why) = tuning_cache::read(&tuning_cache::file(folder, gpu), gpu);
    assert!(why.is_none(), "{why:?}");
    cache.entries().to_vec()
}

#[test]
fn wrong_forms_are_refused_and_the_fastest_right_one_is_taken() {
    let (gpu, folder) = (open(), tempfile::tempdir().unwrap());
    let work = [dispatch(1 << 14, false), dispatch(1 << 14, true), dispatch(100, false)];
    let messages = choose(&gpu, &DOUBLE, &work, Some(FULL), Some(folder.path()));
    let Message::Note(last) = messages.last().unwrap() else { panic!("{messages:?}") };
    assert!(
        last.contains("1 of 2 shapes take another variant") || last.contains("2 of 2 shapes take"),
        "{messages:?}"
    );
    assert_eq!(chosen(&gpu, &DOUBLE, &work[0].1), Some("quick"));
    let found = entries(folder.path(), &gpu);
    assert_eq!(found.len(), 2);
    for entry in &found {
        let rejected: Vec<&str> = entry.rejected.keys().map(String::as_str).collect();
        let want = [
            "adds where it should not",
            "never adds",
            "not finished",
            "past the end",
            "reads behind",
            "refused",
            "tail",
            "wrong factor",
        ];
        assert_eq!(rejected, want, "{}: {:?}", entry.class, entry.rejected);
        for (variant, why) in [
            ("wrong factor", "differs from the portable kernel by"),
            ("past the end", "writes behind the end of `y`"),
            ("not finished", "values that are no numbers"),
            ("reads behind", "values that are no numbers"),
            ("tail", "values that are no numbers"),
            ("refused", "the driver refused it"),
            ("never adds", "differs from the portable kernel by"),
            ("adds where it should not", "values that are no numbers"),
        ] {
            assert!(entry.rejected[variant].contains(why), "{variant}: {}", entry.rejected[variant]);
        }
        let timed: Vec<&str> = entry.seconds.keys().map(String::as_str).collect();
        assert_eq!(timed, ["", "quick", "slow"], "half variants are not asked for");
        assert!(entry.seconds.values().all(|seconds| *seconds > 0.0));
    }
}

#[test]
fn forms_that_round_are_taken_only_where_they_may_be() {
    let gpu = open();
    let work = [dispatch(1 << 14, false)];
    choose(&gpu, &DOUBLE, &work, Some(Options { half: true, ..FULL }), None);
    assert!(["quick", "half"].contains(&chosen(&gpu, &DOUBLE, &work[0].1).unwrap()));
}

#[test]
fn matrix_products_are_tried_at_their_own_shapes() {
    let (gpu, folder) = (open(), tempfile::tempdir().unwrap());
    let work = [linear(40, 128, 64), linear(64, 96, 64)];
    choose(&gpu, &LINEAR, &work, Some(FULL), Some(folder.path()));
    for entry in entries(folder.path(), &gpu) {
        let rejected: Vec<&str> = entry.rejected.keys().map(String::as_str).collect();
        assert_eq!(rejected, ["transposed"], "{:?}", entry.rejected);
        assert!(entry.seconds.contains_key("again"));
    }
}

#[test]
fn off_takes_the_portable_forms() {
    let (gpu, folder) = (open(), tempfile::tempdir().unwrap());
    let work = [dispatch(1 << 14, false)];
    assert_eq!(choose(&gpu, &DOUBLE, &work, None, Some(folder.path())), []);
    assert_eq!(chosen(&gpu, &DOUBLE, &work[0].1), None);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn no_more_memory_is_used_than_the_run_was_planned_for() {
    let (gpu, folder) = (open(), tempfile::tempdir().unwrap());
    let work = [dispatch(40 << 20, false)];
    let messages = choose(&gpu, &DOUBLE, &work, Some(FULL), Some(folder.path()));
    assert!(matches!(messages.last(), Some(Message::Note(text)) if text.contains("1 smaller ones")), "{messages:?}");
    assert_eq!(chosen(&gpu, &DOUBLE, &work[0].1), None);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_cache_is_used_until_it_is_stale() {
    let (first, folder) = (open(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let work = [dispatch(1 << 14, false)];
    let quick = Options { effort: Effort::Quick, ..FULL };
    choose(&first, &DOUBLE, &work, Some(quick), Some(folder));
    let path = cache(folder);
    // Says that the slow variant is the best: only one that is read says so.
    let lie = fs::read_to_string(&path).unwrap().replace("\"variant\": \"quick\"", "\"variant\": \"slow\"");
    let tuned = |text: &str, options: Options| -> (Option<&'static str>, usize) {
        fs::write(&path, text).unwrap();
        let gpu = open();
        let messages = choose(&gpu, &DOUBLE, &work, Some(options), Some(folder));
        let warnings = messages.iter().filter(|what| matches!(what, Message::Warning(_))).count();
        (chosen(&gpu, &DOUBLE, &work[0].1), warnings)
    };
    assert_eq!(tuned(&lie, quick), (Some("slow"), 0), "what is cached is taken");
    assert_eq!(tuned(&lie, FULL), (Some("quick"), 0), "full does not trust quick");
    assert_eq!(tuned(&lie, Options { half: true, ..quick }).1, 0);
    assert_ne!(tuned(&lie, Options { half: true, ..quick }).0, Some("slow"));
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let sources = &entries(folder, &first)[0].sources;
    for (what, text, warnings) in [
        ("other shaders", lie.replace(sources.as_str(), "0"), 0),
        ("no such variant", lie.replace("\"slow\"", "\"none\""), 0),
        ("another class", lie.replace("\"class\": \"", "\"class\": \"x"), 0),
        ("another version", lie.replace(&version, "\"version\": \"0\""), 1),
        ("another driver", lie.replace("\"driver_info\": \"", "\"driver_info\": \"x"), 1),
        ("cut off", lie[..lie.len() / 2].into(), 1),
        ("empty", String::new(), 1),
        ("other JSON", "[1, 2]".into(), 1),
        ("huge", " ".repeat(5 << 20), 1),
    ] {
        assert_eq!(tuned(&text, quick), (Some("quick"), warnings), "{what}");
        assert!(entries(folder, &first).iter().any(|entry| entry.variant.as_deref() == Some("quick")), "{what}");
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "{what}: nothing is left aside");
    }
    fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert!(tuning_cache::read(&path, &first).1.is_some());
}

#[test]
fn a_form_once_refused_stays_so_on_this_device() {
    let (gpu, folder) = (open(), tempfile::tempdir().unwrap());
    choose(&gpu, &DOUBLE, &[dispatch(1 << 14, false)], Some(FULL), Some(folder.path()));
    let path = cache(folder.path());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"rejected\": {", "\"rejected\": {\n\"quick\": \"lost the device\",")).unwrap();
    let other = dispatch(100, false);
    let gpu = open();
    choose(&gpu, &DOUBLE, std::slice::from_ref(&other), Some(FULL), Some(folder.path()));
    assert_ne!(chosen(&gpu, &DOUBLE, &other.1), Some("quick"));
    let found = entries(folder.path(), &gpu);
    let new = found.iter().find(|entry| entry.class == "100").unwrap();
    assert_eq!(new.rejected["quick"], "lost the device");
}

/// As a device leaves it that was lost in a trial: other variants get theirs all the same.
#[test]
fn shapes_that_were_not_measured_are_tuned_again() {
    let (gpu, folder) = (open(), tempfile::tempdir().unwrap());
    let work = dispatch(1 << 14, false);
    choose(&gpu, &DOUBLE, std::slice::from_ref(&work), Some(FULL), Some(folder.path()));
    let path = cache(folder.path());
    let mut page: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let entry = page["entries"][0].as_object_mut().unwrap();
    assert_eq!(entry["variant"], "quick");
    entry.remove("seconds");
    entry.insert("variant".into(), serde_json::Value::Null);
    fs::write(&path, page.to_string()).unwrap();
    let gpu = open();
    choose(&gpu, &DOUBLE, std::slice::from_ref(&work), Some(FULL), Some(folder.path()));
    assert_eq!(chosen(&gpu, &DOUBLE, &work.1), Some("quick"));
}

#[test]
fn a_cache_that_cannot_be_written_is_no_reason_to_stop() {
    let (gpu, folder) = (open(), tempfile::tempdir().unwrap());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let work = [dispatch(1 << 14, false)];
    let messages = choose(&gpu, &DOUBLE, &work, Some(FULL), Some(&file.join("below")));
    let warned =
        |what: &Message| matches!(what, Message::Warning(text) if text.contains("is not kept for the next time"));
    assert!(messages.iter().any(warned), "{messages:?}");
    assert_eq!(chosen(&gpu, &DOUBLE, &work[0].1), Some("quick"));
}

#[test]
fn writers_at_once_leave_a_whole_file() {
    let (gpu, folder) = (open(), tempfile::tempdir().unwrap());
    choose(&gpu, &DOUBLE, &[dispatch(1 << 14, false)], Some(FULL), Some(folder.path()));
    let all = entries(folder.path(), &gpu);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (gpu, folder, all) = (&gpu, folder.path(), &all);
            scope.spawn(move || {
                for i in 0..20 {
                    let mut entry = all[0].clone();
                    entry.class = format!("{thread}-{i}");
                    let file = tuning_cache::file(folder, gpu);
                    let (mut cache, _) = tuning_cache::read(&file, gpu);
                    cache.add(vec![entry]);
                    tuning_cache::write(&file, gpu, &cache).unwrap();
                    assert!(!entries(folder, gpu).is_empty());
                }
            });
        }
    });
}

#[test]
fn a_run_goes_on_with_what_it_recorded() {
    let (first, folder) = (open(), tempfile::tempdir().unwrap());
    let work = [dispatch(1 << 14, false), dispatch(100, false)];
    choose(&first, &DOUBLE, &work, Some(FULL), None);
    first.choose(&DOUBLE, "100".into(), DOUBLE.variants.iter().find(|variant| variant.name == "slow"));
    let record = folder.path().join("tuning.json");
    tuning_cache::write(&record, &first, &Cache::chosen(&first)).unwrap();

    let second = open();
    let (cache, why) = tuning_cache::read(&record, &second);
    assert!(why.is_none() && cache.apply(&second, [&DOUBLE]));
    for options in [Some(FULL), None] {
        assert_eq!(choose(&second, &DOUBLE, &work, options, None), [], "nothing is tuned again");
        assert_eq!(chosen(&second, &DOUBLE, &work[0].1), Some("quick"));
        assert_eq!(chosen(&second, &DOUBLE, &work[1].1), Some("slow"));
    }
    assert_eq!(Cache::chosen(&second), Cache::chosen(&first));

    let third = open();
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"slow\"", "\"gone\"")).unwrap();
    assert!(!tuning_cache::read(&record, &third).0.apply(&third, [&DOUBLE]));
    assert!(Cache::chosen(&third).is_empty(), "all or nothing");
}

#[test]
#[ignore = "nightly: minutes on a software driver"]
fn every_group_can_be_tried() {
    let gpu = open();
    for group in underdog::graph::ops::groups() {
        let (name, ragged) = (group.kernel.name, (group.trial.ragged)());
        assert!(!ragged.is_empty(), "{name}: no ragged shapes");
        assert!(ragged.iter().all(|extents| (group.trial.work)(&extents.params) > 0.0), "{name}");
        // As few as have a shape for every variant; each is tried at all of these before.
        let mut untried: Vec<_> = group.variants.iter().filter(|variant| gpu.offers(variant)).collect();
        let offered = untried.len();
        let mut work = Vec::new();
        for extents in ragged.iter().rev() {
            let before = untried.len();
            untried.retain(|variant| (variant.grid)(&extents.params).is_none());
            if untried.len() < before {
                work.push((group.kernel, extents.clone()));
            }
        }
        assert!(untried.is_empty(), "{name}: takes no ragged shape: {untried:?}");
        let folder = tempfile::tempdir().unwrap();
        choose(&gpu, group, &work, Some(Options { half: true, ..FULL }), Some(folder.path()));
        let entries = entries(folder.path(), &gpu);
        let mut right: Vec<&String> = entries.iter().flat_map(|entry| entry.seconds.keys()).collect();
        right.sort();
        right.dedup();
        for entry in &entries {
            assert!(entry.rejected.is_empty(), "{name} {}: {:?}", entry.class, entry.rejected);
        }
        assert_eq!(right.len(), 1 + offered, "{name}: {right:?}");
    }
}
