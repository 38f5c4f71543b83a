//! `docs/settings.md`, made from the table.

use std::fmt::Write as _;

use super::table::{Config, RUN, SETTINGS, VERBS};

const HEAD: &str = "\
# Settings

<!-- Made from src/settings/table.rs: UPDATE_DOCS=1 cargo test --test config settings_are_documented -->

A run takes its settings from the defaults, then the TOML file, then the flags, then `--set key=value`; later ones win. A key
of the file is its flag with underscores: `--max-length 512` is `max_length = 512`. `config.toml` in the folder of a run
holds them all; `underdog train config.toml --out DIR` runs it again. A run that is resumed must keep its settings, but for
those marked \u{2020}, which do not change the result.
";

/// The page.
pub fn markdown() -> String {
    let defaults = Config::default();
    let mut page = HEAD.to_owned();
    let mut group = None;
    for setting in SETTINGS {
        if group != Some(setting.group) {
            group = Some(setting.group);
            let heading = if setting.group.is_empty() { "Run" } else { setting.group };
            let _ = write!(page, "\n## {heading}\n\n| key | flag of | default | what it is |\n|---|---|---|---|\n");
        }
        let mark = if setting.affects_result { "" } else { " \u{2020}" };
        let default = setting.default_text(&defaults).map_or_else(String::new, |text| format!("`{text}`"));
        let mut what = setting.help().replace('|', "\\|");
        let bounds = setting.bounds();
        if !bounds.is_empty() {
            let _ = write!(what, "; {bounds}");
        }
        for (name, means) in (setting.about.words)() {
            let _ = write!(what, "<br>`{name}`: {means}");
        }
        let _ = writeln!(page, "| `{}`{mark} | {} | {default} | {what} |", setting.key, verbs(setting.verbs));
    }
    page
}

/// Verbs by name; all that run settings share as one.
fn verbs(verbs: u32) -> String {
    let names = |verbs| VERBS.iter().filter(move |(verb, _)| verb & verbs != 0).map(|(_, name)| *name);
    match verbs & RUN == RUN {
        true => std::iter::once("every run").chain(names(verbs & !RUN)).collect::<Vec<_>>().join(", "),
        false => names(verbs).collect::<Vec<_>>().join(", "),
    }
}
