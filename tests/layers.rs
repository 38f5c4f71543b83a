//! Who may import whom. Reads the sources against the table of rooms in `docs/architecture.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What the training loop is made of.
const PARTS: &[&str] =
    &["clock", "events", "gpu", "kernels", "graph", "model", "objective", "formats", "data", "report"];

/// A room and those it may import.
const ROOMS: &[(&str, &[&[&str]])] = &[
    ("choice", &[]),
    ("clock", &[]),
    ("gpu", &[&["clock"]]),
    ("kernels", &[&["gpu"]]),
    ("platform", &[&["clock", "gpu", "kernels", "formats"]]),
    ("settings", &[&["choice", "data", "graph"]]),
    ("data", &[&["choice", "formats"]]),
    ("eval", &[&["choice", "report"]]),
    ("events", &[]),
    ("report", &[&["events"]]),
    ("formats", &[]),
    ("graph", &[&["choice", "gpu", "kernels"]]),
    ("model", &[&["graph", "gpu", "formats"]]),
    ("objective", &[&["model", "graph", "gpu", "data", "settings"]]),
    ("train", &[PARTS]),
    ("infer", &[PARTS, &["train"]]),
    ("bench", &[PARTS, &["train", "platform"]]),
    ("doctor", &[PARTS, &["train", "bench", "platform"]]),
    ("session", &[PARTS, &["settings", "train", "infer", "eval", "doctor", "platform"]]),
    ("recipes", &[PARTS, &["settings", "train", "infer", "eval", "session", "platform"]]),
    (
        "cli",
        &[
            PARTS,
            &["choice", "settings", "train", "infer", "eval", "session", "recipes", "bench", "doctor", "platform"],
        ],
    ),
    ("lib", &[]),
    ("main", &[&["cli"]]),
];

/// What a line of text must not hold outside its room.
const RESERVED: &[(&str, &str)] = &[
    ("wgpu", "gpu"),
    ("println!", "report"),
    ("eprintln!", "report"),
    ("print!", "report"),
    ("eprint!", "report"),
    ("anstream", "report"),
];

/// Rooms that touch no files, threads or clocks, so that they could run in a browser, and what they therefore never name.
const CORE: (&[&str], &[&str]) =
    (&["events", "gpu", "graph", "model", "objective", "train", "infer"], &["fs", "thread", "Instant", "SystemTime"]);

/// Files of these rooms that open a folder all the same.
const OPENERS: &[&str] = &["model/config/read.rs"];

/// Files that may hold `unsafe`, and how often.
const UNSAFE: &[(&str, usize)] = &[("gpu/experimental.rs", 1), ("gpu/trusted.rs", 1)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file: its path below `src`, and its text without comments and literals.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).expect("below src").to_string_lossy().replace('\\', "/");
                found.push((name, code(&fs::read_to_string(&path).expect("a source"))));
            }
        }
    }
    found.sort();
    found
}

/// `source` with every comment and every string blanked.
fn code(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\") {
            rest[2..].find('\'').map_or(rest.len(), |end| end + 3)
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if c == '"' {
            string_length(rest)
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.extend(rest[..skip].chars().filter(|c| *c == '\n'));
        out.push(' ');
        rest = &rest[skip..];
    }
    out
}

/// The number of hashes of a raw string that `text` begins with.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Bytes of the string literal that `text` begins with.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The room of a file below `src`.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// The places where `wanted` stands in `code` as a word of its own.
fn occurrences<'a>(code: &'a str, wanted: &'a str) -> impl Iterator<Item = usize> + 'a {
    let apart = move |at: &usize| {
        let before = code[..*at].chars().next_back();
        let after = code[at + wanted.len()..].chars().next();
        !before.is_some_and(is_word) && (!wanted.ends_with(is_word) || !after.is_some_and(is_word))
    };
    code.match_indices(wanted).map(|(at, _)| at).filter(apart)
}

/// The crate's top-level modules that `code` names, by `crate::x`, `crate::{x, y::z}` or, from `main`, `underdog::x`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in ["crate::", "underdog::"] {
        for at in occurrences(code, path) {
            let rest = &code[at + path.len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(first_words(group)),
                None => found.extend(Some(word(rest).to_owned())),
            }
        }
    }
    found
}

/// The first word of every item of `a::b, c::{d, e}, f }`.
fn first_words(group: &str) -> Vec<String> {
    let (mut words, mut depth, mut fresh) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && is_word(c) => {
                words.push(word(&group[at..]).to_owned());
                fresh = false;
            }
            _ => {}
        }
    }
    words
}

/// What is wrong with a file.
fn violations(file: &str, code: &str) -> Vec<String> {
    let here = room(file);
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == here) else {
        return vec![format!("{file}: no room `{here}` in the table")];
    };
    let mut wrong = Vec::new();
    for there in imports(code) {
        let known = ROOMS.iter().any(|(name, _)| *name == there);
        if known && there != here && !allowed.iter().any(|rooms| rooms.contains(&there.as_str())) {
            wrong.push(format!("{file}: `{here}` imports `{there}`"));
        }
    }
    for (name, only) in RESERVED {
        if here != *only && occurrences(code, name).next().is_some() {
            wrong.push(format!("{file}: only `{only}` may use `{name}`"));
        }
    }
    if CORE.0.contains(&here) && !OPENERS.contains(&file) {
        let named = CORE.1.iter().filter(|name| occurrences(code, name).next().is_some());
        wrong.extend(named.map(|name| format!("{file}: `{here}` names `{name}`")));
    }
    let unsafes = occurrences(code, "unsafe").count();
    let allowed = UNSAFE.iter().find(|(name, _)| *name == file).map_or(0, |(_, count)| *count);
    if unsafes > allowed {
        wrong.push(format!("{file}: {unsafes} times `unsafe`, allowed {allowed}"));
    }
    wrong
}

#[test]
fn rooms_import_only_what_they_may() {
    let sources = sources();
    assert!(sources.len() > 30, "found only {} sources", sources.len());
    let wrong: Vec<String> = sources.iter().flat_map(|(file, code)| violations(file, code)).collect();
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_room_exists_and_every_import_is_seen() {
    let sources = sources();
    for (name, _) in ROOMS {
        assert!(sources.iter().any(|(file, _)| room(file) == *name), "no room `{name}`");
    }
    let seen = |file: &str| imports(&sources.iter().find(|(name, _)| name == file).expect(file).1);
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(seen("graph/plan.rs"), names(&["gpu", "graph"]));
    assert_eq!(seen("model/stream.rs"), names(&["formats", "gpu", "graph"]));
}

#[test]
fn violations_are_found() {
    for (file, line) in [
        ("gpu/device.rs", "use crate::graph::tensor::Tensor;"),
        ("graph/ops/add.rs", "use crate::{\n    kernels::add::{Forward, Params},\n    model::Model,\n};"),
        ("data/pack.rs", "fn f() -> crate::report::Event { todo() }"),
        ("report/mod.rs", "use crate::{settings::Config};"),
        ("train/engine.rs", "use crate::session;"),
        ("train/mod.rs", "use crate::settings::Config;"),
        ("main.rs", "use underdog::gpu::Gpu;"),
        ("graph/tape.rs", "let limits = wgpu::Limits::default();"),
        ("train/mod.rs", "println!(\"step\");"),
        ("cli/mod.rs", "eprint!(\"{error}\");"),
        ("cli/mod.rs", "use anstream::println;"),
        ("model/mod.rs", "unsafe { f() }"),
        ("gpu/trusted.rs", "unsafe { f() }; unsafe { g() }"),
        ("train/mod.rs", "let began = std::time::Instant::now();"),
        ("objective/mix.rs", "use std::{fs, path::Path};"),
        ("attic/mod.rs", ""),
    ] {
        assert!(!violations(file, &code(line)).is_empty(), "{file}: `{line}` passes");
    }
    for (file, line) in [
        (
            "gpu/device.rs",
            "// use crate::graph::Tensor;\n/* unsafe */ let s = \"crate::graph \\\" unsafe\"; use wgpu::Device;",
        ),
        ("graph/ops/add.rs", "use crate::{gpu::self, kernels::add::Forward, graph::tape::Tape};\nuse super::size;"),
        ("graph/tape.rs", "let r = r#\"println!(\"crate::model\")\"#; let q = '\"'; let unsafely = my_println!();"),
        ("report/print.rs", "anstream::println!(\"{line}\");"),
        ("gpu/trusted.rs", "#[allow(unsafe_code, reason = \"r\")] fn f() { unsafe { g() } }"),
    ] {
        assert_eq!(violations(file, &code(line)), Vec::<String>::new(), "{file}: `{line}`");
    }
}

/// Circles of files that import each other: to be taken apart, never to grow.
const CIRCLES: &[&[&str]] = &[
    &["eval/sandbox.rs", "eval/sandbox/child.rs", "eval/sandbox/isolation.rs"],
    &["model/layer.rs", "model/mod.rs"],
    &["train/engine/mod.rs", "train/engine/plan.rs"],
    &["train/mod.rs", "train/steps.rs"],
];

/// Paths of the `use` statements of `code`, groups taken apart, each with whether it is passed on (`pub use`); and the other
/// paths that begin with `crate`, `super` or `self`.
fn paths(code: &str) -> Vec<(bool, Vec<String>)> {
    let (mut found, mut rest) = (Vec::new(), code.to_owned());
    let mut starts: Vec<usize> = occurrences(code, "use").collect();
    starts.reverse();
    for at in starts {
        let Some(end) = code[at..].find(';').map(|end| at + end) else { continue };
        let before = code[..at].trim_end();
        let public = before.ends_with("pub")
            || before.ends_with(')') && before[..].rfind("pub(").is_some_and(|p| !before[p..].contains('\n'));
        let compact: String = code[at + 3..end].split_whitespace().collect::<Vec<_>>().join(" ");
        expand(&compact, &[], &mut |path| found.push((public, path)));
        rest.replace_range(at..end, "");
    }
    for root in ["crate::", "super::", "self::", "std::"] {
        for at in occurrences(&rest, root) {
            if !rest[..at].ends_with("::") {
                let end = rest[at..].find(|c| !is_word(c) && c != ':').map_or(rest.len(), |end| at + end);
                found.push((
                    false,
                    rest[at..end].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect(),
                ));
            }
        }
    }
    found
}

/// Calls `each` with every path of `a::{b, c::d as e}`.
fn expand(tree: &str, prefix: &[String], each: &mut impl FnMut(Vec<String>)) {
    let with = |path: &str| {
        let parts = path.split("::").map(|part| part.split(" as ").next().unwrap_or(part).trim());
        prefix.iter().cloned().chain(parts.filter(|part| !part.is_empty()).map(str::to_owned)).collect::<Vec<_>>()
    };
    let Some(open) = tree.find('{') else {
        let mut path = with(tree);
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        return each(path);
    };
    let prefix = with(&tree[..open]);
    let (mut depth, mut start) = (0, open + 1);
    let close = tree.rfind('}').unwrap_or(tree.len());
    for (at, c) in tree[..close].char_indices().skip(open + 1) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(tree[start..at].trim(), &prefix, each);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !tree[start..close].trim().is_empty() {
        expand(tree[start..close].trim(), &prefix, each);
    }
}

/// A module's path: `a/b.rs` and `a/b/mod.rs` are `a::b`.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    if ["lib", "main"].contains(&path) { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// Which file every file imports. A name that a module passes on (`pub use`) is its who defines it.
fn edges(sources: &[(String, String)]) -> Vec<BTreeSet<usize>> {
    let modules: BTreeMap<Vec<String>, usize> = sources
        .iter()
        .enumerate()
        .filter(|(_, (file, _))| file != "main.rs")
        .map(|(i, (file, _))| (module(file), i))
        .collect();
    let all: Vec<_> = sources.iter().map(|(_, code)| paths(code)).collect();
    // The path from the root that a path in a module stands for.
    let absolute = |here: &[String], path: &[String]| -> Option<Vec<String>> {
        let mut base = here.to_vec();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => (base, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {}
            first => {
                base.push(first.to_owned());
                modules.get(&base)?;
                base.pop();
            }
        }
        while rest.first().is_some_and(|part| part == "super") {
            base.pop();
            rest = &rest[1..];
        }
        base.extend(rest.iter().cloned());
        Some(base)
    };
    fn resolve(
        path: &[String],
        modules: &BTreeMap<Vec<String>, usize>,
        passed_on: &dyn Fn(usize, &str) -> Option<Vec<String>>,
        depth: usize,
    ) -> Option<usize> {
        let (length, file) = (0..=path.len()).rev().find_map(|n| modules.get(&path[..n]).map(|file| (n, *file)))?;
        let name = path.get(length);
        match name.and_then(|name| passed_on(file, name)) {
            Some(further) if depth < 8 => {
                let whole: Vec<String> = further.into_iter().chain(path[length + 1..].iter().cloned()).collect();
                resolve(&whole, modules, passed_on, depth + 1)
            }
            _ => Some(file),
        }
    }
    let passed_on = |file: usize, name: &str| {
        let mut public = all[file].iter().filter(|(public, _)| *public);
        let found = public.find(|(_, path)| path.len() > 1 && path.last().is_some_and(|last| last == name))?;
        absolute(&module(&sources[file].0), &found.1)
    };
    let of = |from: usize| {
        let here = module(&sources[from].0);
        let used = all[from].iter().filter(|(public, _)| !public);
        let files = used.filter_map(|(_, path)| resolve(&absolute(&here, path)?, &modules, &passed_on, 0));
        files.filter(|to| *to != from).collect()
    };
    (0..sources.len()).map(of).collect()
}

/// Groups of files each of which imports, over others, all of its group.
fn circles(sources: &[(String, String)]) -> Vec<Vec<&str>> {
    let edges = edges(sources);
    let reached = |from: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            open.extend(edges[next].iter().filter(|to| seen.insert(**to)));
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..sources.len()).map(reached).collect();
    let group = |i: usize| -> Vec<&str> {
        (0..sources.len())
            .filter(|j| reached[i].contains(j) && reached[*j].contains(&i))
            .map(|j| sources[j].0.as_str())
            .collect()
    };
    let groups: BTreeSet<Vec<&str>> = (0..sources.len()).map(group).filter(|group| group.len() > 1).collect();
    groups.into_iter().collect()
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let sources = sources();
    let found = circles(&sources);
    let lines: Vec<String> = found.iter().map(|circle| format!("    &{circle:?},")).collect();
    assert_eq!(found, CIRCLES, "circles of files:\n{}", lines.join("\n"));
}

#[test]
fn circles_are_found() {
    let named = |files: &[(&str, &str)]| {
        files.iter().map(|(name, text)| ((*name).to_owned(), code(text))).collect::<Vec<_>>()
    };
    let made = named(&[
        ("lib.rs", "pub mod a; pub mod b;"),
        ("a/mod.rs", "mod one; mod two; pub use one::{One, other as another}; pub(crate) use two::Two;"),
        ("a/one.rs", "use std::fmt;\nuse super::two::Two;\nuse crate::b::B;"),
        ("a/two.rs", "fn f() -> super::One { todo() }"),
        ("b.rs", "use crate::{a, c};"),
    ]);
    assert_eq!(circles(&made), [["a/one.rs", "a/two.rs"]], "through a name that is passed on; none by `mod`");
    let made = named(&[("a.rs", "use crate::{b::{self, B}};"), ("b.rs", "mod c;"), ("b/c.rs", "use crate::a::A;")]);
    assert!(circles(&made).is_empty(), "a module does not import its parts by `mod`");
}
