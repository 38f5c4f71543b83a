//! Chat templates against the renderings of the reference implementation.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;
use underdog::data::template::{Chat, ChatTemplate, Moment, Rendered};

use crate::support;

/// 2025-07-10 12:00:00, the moment at which the reference was rendered.
const MOMENT: Moment = Moment::constant(1_752_148_800, 0);

fn source(path: &Path) -> String {
    let text = support::text(path);
    if path.extension().is_some_and(|e| e == "jinja") {
        return text;
    }
    let beside = path.with_file_name("chat_template.jinja");
    if beside.exists() {
        return support::text(&beside);
    }
    let config: Value = serde_json::from_str(&text).expect("tokenizer_config.json");
    config["chat_template"].as_str().expect("chat_template").to_string()
}

fn characters(text: &str, span: &Range<usize>) -> Vec<usize> {
    vec![text[..span.start].chars().count(), text[..span.end].chars().count()]
}

/// `None` where the rendering is as the row says, else what differs.
fn difference(row: &Value, got: Result<Rendered, underdog::data::Error>) -> Option<String> {
    let id = format!("{} {} {}", row["template"], row["conversation"], row["add_generation_prompt"]);
    match (row.get("error"), got) {
        (Some(_), Err(_)) => None,
        (Some(want), Ok(got)) => Some(format!("{id}\n  wanted error {want}\n  got {:?}", got.text)),
        (None, Err(error)) => Some(format!("{id}\n  wanted {}\n  got error {error}", row["output"])),
        (None, Ok(got)) => {
            let spans: Vec<_> = got.spans.iter().map(|span| characters(&got.text, span)).collect();
            let same = row["output"] == got.text.as_str()
                && row.get("assistant_spans").is_none_or(|want| *want == serde_json::json!(spans));
            (!same).then(|| format!("{id}\n  wanted {}\n  got    {:?}\n {spans:?}", row["output"], got.text))
        }
    }
}

#[test]
fn renders_every_golden_row() {
    let Some(root) = support::shared("renders_every_golden_row", "chat_goldens") else { return };
    let read = |name: &str| -> Value {
        serde_json::from_str(&support::text(&root.join("chat_goldens").join(name))).expect("JSON")
    };
    let (conversations, special) = (read("conversations.json"), read("special_tokens.json"));
    let goldens = support::text(&root.join("chat_goldens/goldens.jsonl"));
    let mut templates: BTreeMap<String, ChatTemplate> = BTreeMap::new();
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in goldens.lines() {
        let row: Value = serde_json::from_str(line).expect("golden row");
        let name = row["template"].as_str().expect("template").to_string();
        let template = templates.entry(name.clone()).or_insert_with(|| {
            let special = serde_json::from_value(special[&name].clone()).expect("special tokens");
            ChatTemplate::new(&source(&root.join(&name)), special).unwrap_or_else(|e| panic!("{name}: {e}"))
        });
        let conversation = &conversations[row["conversation"].as_str().expect("conversation")];
        let got = template.render(Chat {
            messages: conversation["messages"].as_array().expect("messages"),
            tools: conversation.get("tools"),
            add_generation_prompt: row["add_generation_prompt"] == true,
            extra: row.get("extra").and_then(Value::as_object),
            now: MOMENT,
        });
        rows += 1;
        wrong.extend(difference(&row, got));
    }
    assert!(rows >= 3684, "{rows} rows");
    assert!(wrong.is_empty(), "{} of {rows} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn render(source: &str, messages: &Value) -> Result<Rendered, underdog::data::Error> {
    let template = ChatTemplate::new(source, BTreeMap::new())?;
    let messages = messages.as_array().expect("messages");
    template.render(Chat { messages, tools: None, add_generation_prompt: false, extra: None, now: MOMENT })
}

/// Each must end in an error, or where `true` may be rendered: no panic, no abort, no minutes, no gigabytes.
#[test]
fn hostile_templates_do_no_harm() {
    let loops = |depth: usize| {
        let body = "{% for i in range(100000) %}".repeat(depth) + "x" + &"{% endfor %}".repeat(depth);
        format!("{body}{body}")
    };
    let cases = [
        ("unary minuses", true, format!("{{{{ {}1 }}}}", "-".repeat(5000))),
        ("many more unary minuses", true, format!("{{{{ {}1 }}}}", "-".repeat(60_000))),
        ("nots", true, format!("{{{{ {}1 }}}}", "not ".repeat(15_000))),
        ("brackets", false, format!("{{{{ {}1 }}}}", "(".repeat(60_000))),
        ("lists", false, format!("{{{{ {}{} }}}}", "[".repeat(30_000), "]".repeat(30_000))),
        ("blocks", false, "{% if x %}".repeat(6_000)),
        ("a loop without end", false, loops(3)),
        ("giant output", false, "{% for i in range(100000) %}{{ 'xxxxxxxx' * 10000 }}{% endfor %}".to_string()),
        ("giant string", false, "{{ 'x' * 1000000000 }}".to_string()),
        ("a macro that calls itself", false, "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_string()),
        ("too long", false, " ".repeat(64 * 1024 + 1)),
        ("unclosed", false, "{% for m in messages %}".to_string()),
        ("no such filter", false, "{{ messages | nonsense }}".to_string()),
        ("deep indentation", false, "{{ messages | tojson(indent='x' * 100000000) }}".to_string()),
    ];
    let messages = serde_json::json!([{"role": "user", "content": "hi"}]);
    for (name, harmless, source) in cases {
        let started = std::time::Instant::now();
        match render(&source, &messages) {
            Ok(rendered) => assert!(harmless && rendered.text.len() < 10, "{name}: {} bytes", rendered.text.len()),
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with("chat template: ") && error.len() < 2000, "{name}: {error}");
            }
        }
        assert!(started.elapsed().as_secs() < 20, "{name} took {:?}", started.elapsed());
    }
}

#[test]
fn python_forms() {
    let cases = [
        ("{{ {'b': 1.0, 'a': [none, true]} | tojson }}", r#"{"b": 1.0, "a": [null, true]}"#),
        ("{{ {'b': 1, 'a': '<é\n>'} | tojson(sort_keys=true) }}", r#"{"a": "<é\n>", "b": 1}"#),
        ("{{ ['é🎉'] | tojson(ensure_ascii=true) }}", r#"["\u00e9\ud83c\udf89"]"#),
        ("{{ {'a': [1, {}], 'b': []} | tojson(indent=2) }}", "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}"),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
        ("{{ [1e16, 1e-5, 0.0001, 1.5e300] | tojson }}", "[1e+16, 1e-05, 0.0001, 1.5e+300]"),
        ("{{ none is iterable }} {{ [] is iterable }} {{ 'a' is iterable }}", "False True True"),
        ("{{ 'a' + '<'|safe + '&' }}", "a<&amp;"),
        ("{{ strftime_now('%d %b %Y %H:%M:%S %A %j %y %I %p %%') }}", "10 Jul 2025 12:00:00 Thursday 191 25 12 PM %"),
        ("{% raw %}{% for x in none %}{% endraw %}", "{% for x in none %}"),
        ("{% for a, b in {'x': 1}.items() if b %}{{ a }}{{ b }}{% endfor %}", "x1"),
        ("{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "13"),
        ("{{ '%}' }}{# {% for x in none %} #}{{ {'a': {'b': 1}}['a']['b'] }}", "%}1"),
        ("a\r\nb\rc", "a\nb\nc"),
    ];
    for (source, want) in cases {
        let got = render(source, &serde_json::json!([])).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(got.text, want, "{source}");
    }
    for source in
        ["{% for x in none %}{% endfor %}", "{{ [1] | map('string') | tojson }}", "{{ raise_exception('no') }}"]
    {
        assert!(render(source, &serde_json::json!([])).is_err(), "{source}");
    }
}

/// Text that holds the very characters that mark generation blocks.
#[test]
fn spans_survive_noncharacters_in_messages() {
    let source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}";
    let messages = serde_json::json!([{"content": "\u{FDD0}a\u{FDD1}"}, {"content": "\u{FDD2}é"}]);
    let rendered = render(source, &messages).expect("renders");
    assert_eq!(rendered.text, "\u{FDD0}a\u{FDD1};\u{FDD2}é;");
    let texts: Vec<_> = rendered.spans.iter().map(|span| &rendered.text[span.clone()]).collect();
    assert_eq!(texts, ["\u{FDD0}a\u{FDD1}", "\u{FDD2}é"]);
}
