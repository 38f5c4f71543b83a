//! Tests that cannot run say so where CI sees it; nothing passes because its data is absent.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
};

/// Says that a test, or a part of one, does not run. Written past the test harness, which swallows what passing tests
/// print; `.ci/run` repeats these lines at its end.
pub(crate) fn skip(test: &str, why: &str) {
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// The root of the shared data, which `UNDERDOG_DATA` names, or `None` after saying that `test` is skipped because `path`
/// is not in it.
pub(crate) fn shared(test: &str, path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let root = env::var_os("UNDERDOG_DATA").map_or_else(beside, PathBuf::from);
    let found = root.join(path);
    if !found.exists() {
        skip(test, &format!("wants {}", found.display()));
        return None;
    }
    Some(root)
}
