//! Data files: masks on real chat templates, over-length rows, malformed rows.

use std::path::Path;

use serde_json::{Value, json};
use underdog::data::preview::pieces;
use underdog::data::template::Moment;
use underdog::data::tokenizer::Tokenizer;
use underdog::data::{Counts, Dataset, Error, Example, Options, Overlength, arithmetic, load};

use crate::support;

const OPTIONS: Options = Options {
    max_length: 100_000,
    overlength: Overlength::Truncate,
    vocab: None,
    now: Moment::constant(1_752_148_800, 0),
};

fn small() -> Tokenizer {
    let (tokenizer, config) = (arithmetic::tokenizer_json(), arithmetic::tokenizer_config());
    Tokenizer::from_json(&tokenizer, &config, Some(arithmetic::CHAT_TEMPLATE)).expect("tokenizer")
}

fn read(tokenizer: &Tokenizer, file: &[u8], options: &Options) -> Result<Dataset, Error> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, file).expect("write");
    load(&path, tokenizer, options)
}

fn read_row(tokenizer: &Tokenizer, row: &Value) -> Example {
    let dataset = read(tokenizer, row.to_string().as_bytes(), &OPTIONS).unwrap_or_else(|e| panic!("{e}: {row}"));
    dataset.examples.into_iter().next().unwrap_or_else(|| panic!("left out: {row}"))
}

/// The trained stretches of an example as text.
fn trained(tokenizer: &Tokenizer, example: &Example) -> Vec<String> {
    let mut stretches: Vec<Vec<u32>> = vec![Vec::new()];
    for (&id, &trained) in example.ids.iter().zip(&example.trained) {
        match trained {
            true => stretches.last_mut().expect("stretch").push(id),
            false => stretches.push(Vec::new()),
        }
    }
    stretches.retain(|stretch| !stretch.is_empty());
    stretches.iter().map(|ids| tokenizer.decode(ids, false).expect("text")).collect()
}

fn turns(contents: &[&str]) -> Value {
    let role = |i: usize| if i.is_multiple_of(2) { "user" } else { "assistant" };
    let message = |(i, content): (usize, &&str)| json!({"role": role(i), "content": content});
    json!({"messages": contents.iter().enumerate().map(message).collect::<Vec<_>>()})
}

#[test]
fn trains_assistant_turns_and_their_ends_on_real_templates() {
    let Some(root) = support::shared("trains_assistant_turns_and_their_ends_on_real_templates", "tokenizers") else {
        return;
    };
    // The end-of-turn, and what Qwen3's template puts before the last answer when it brings no thought.
    let templates = [
        ("qwen3", "<|im_end|>", "<think>\n\n</think>\n\n"),
        ("qwen2_5", "<|im_end|>", ""),
        ("llama3_2", "<|eot_id|>", ""),
        ("gemma3", "<end_of_turn>", ""),
        ("minimind", "<|im_end|>", ""),
    ];
    for (name, end, thought) in templates {
        let tokenizer = support::tokenizer(&root, name);
        let check = |row: Value, want: &[&str]| {
            let got = trained(&tokenizer, &read_row(&tokenizer, &row));
            let want: Vec<String> = want.iter().map(|text| text.replace("THOUGHT", thought) + end).collect();
            assert_eq!(got, want, "{name}: {row}");
        };
        check(turns(&["What is 2+2?", "4"]), &["THOUGHT4"]);
        check(
            turns(&["Name a colour.", "Blue.", "Another?", "Red.\n\n- really red"]),
            &["Blue.", "THOUGHTRed.\n\n- really red"],
        );
        check(turns(&["Hi", "Blue.", "And?", "Blue.", "And?", "Blue."]), &["Blue.", "Blue.", "THOUGHTBlue."]);
        check(turns(&["Hi", "Ça marche — 好的 🎉", "Bye"]), &["Ça marche — 好的 🎉"]);
        check(turns(&["Hi", "", "Hm?", "Yes."]), &["THOUGHTYes."]);
    }
}

#[test]
fn finds_turns_whose_thoughts_are_dropped_later() {
    let Some(root) = support::shared("finds_turns_whose_thoughts_are_dropped_later", "tokenizers") else { return };
    let tokenizer = support::tokenizer(&root, "qwen3");
    let row = turns(&[
        "Is 7 prime?",
        "<think>\nCheck 2, 3, 5.\n</think>\n\nYes.",
        "And 9?",
        "<think>\n3*3\n</think>\n\nNo.",
    ]);
    let example = read_row(&tokenizer, &row);
    let want = ["Yes.<|im_end|>", "<think>\n3*3\n</think>\n\nNo.<|im_end|>"];
    assert_eq!(trained(&tokenizer, &example), want);
    let mut row = row;
    row["messages"][3] = json!({"role": "assistant", "content": "No.", "reasoning_content": "3*3"});
    assert_eq!(trained(&tokenizer, &read_row(&tokenizer, &row)), want);
}

#[test]
fn trains_tool_calls_but_not_their_answers() {
    let Some(root) = support::shared("trains_tool_calls_but_not_their_answers", "chat_goldens") else { return };
    let conversations: Value =
        serde_json::from_str(&support::text(&root.join("chat_goldens/conversations.json"))).expect("JSON");
    for name in ["qwen3", "qwen2_5", "llama3_2"] {
        let tokenizer = support::tokenizer(&root, name);
        let got = trained(&tokenizer, &read_row(&tokenizer, &conversations["tool_call"]));
        assert_eq!(got.len(), 2, "{name}: {got:?}");
        assert!(got[0].contains("get_weather") && got[0].contains("Paris, FR"), "{name}: {got:?}");
        assert!(!got[0].contains("\"temp\""), "{name}: {got:?}");
        assert!(got[1].contains("It is 18 °C."), "{name}: {got:?}");
    }
}

/// These want tools or functions, and end in an error in the reference too.
const WANT_TOOLS: [&str; 4] = ["command-r-plus-tool_use", "Hermes-2-Pro", "Hermes-3", "firefunction"];

#[test]
fn finds_the_turns_of_every_template() {
    let Some(root) = support::shared("finds_the_turns_of_every_template", "chat_templates") else { return };
    let json = arithmetic::tokenizer_json();
    let config = json!({"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}).to_string();
    let row = turns(&["Name a colour.", "Blue.", "Another?", "Red."]);
    let mut wrong = Vec::new();
    for path in templates(&root.join("chat_templates")) {
        let name = path.display().to_string();
        let tokenizer = Tokenizer::from_json(&json, &config, Some(&support::text(&path))).expect("tokenizer");
        let got = read(&tokenizer, row.to_string().as_bytes(), &OPTIONS).map(|d| trained(&tokenizer, &d.examples[0]));
        let right = match &got {
            Ok(got) => {
                let found = got.len() == 2 && got[0].contains("Blue.") && got[1].contains("Red.");
                let others = ["colour", "Another", "user", "USER", "assistant", "INST"];
                found && !got.iter().any(|turn| others.iter().any(|other| turn.contains(other)))
            }
            Err(_) => WANT_TOOLS.iter().any(|part| name.contains(part)),
        };
        if !right {
            wrong.push(format!("{name}: {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn templates(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(templates(&path));
        } else if path.extension().is_some_and(|e| e == "jinja") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn generation_blocks_say_what_is_trained() {
    let template = "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% else %}=\
                    {% generation %}{{ m.content }}<|im_end|>\n{% endgeneration %}{% endif %}{% endfor %}";
    let tokenizer =
        Tokenizer::from_json(&arithmetic::tokenizer_json(), &arithmetic::tokenizer_config(), Some(template))
            .expect("ok");
    let example = read_row(&tokenizer, &turns(&["3+4", "7", "7-2", "5"]));
    assert_eq!(tokenizer.decode(&example.ids, false).expect("text"), "[3+4]=7<|im_end|>\n[7-2]=5<|im_end|>\n");
    assert_eq!(trained(&tokenizer, &example), ["7<|im_end|>", "5<|im_end|>"]);
}

#[test]
fn trains_completions_and_texts() {
    let tokenizer = small();
    let eos = tokenizer.eos_id().expect("eos");
    let pair = read_row(&tokenizer, &json!({"prompt": "3+4=", "completion": "7"}));
    assert_eq!(pair.ids, [tokenizer.encode("3+4=7", false).expect("ids"), vec![eos]].concat());
    assert_eq!(pair.trained, [false, false, false, false, true, true]);
    let text = read_row(&tokenizer, &json!({"text": "1+2"}));
    assert_eq!(text.trained, [false, true, true, true]);
    assert_eq!(text.ids.last(), Some(&eos));
    let bare = read_row(&tokenizer, &json!({"prompt": "", "completion": "12"}));
    assert_eq!(bare.trained, [false, true, true]);
}

/// Llama's tokenizer starts a text with BOS; this one also ends it with EOS, which must not follow a prompt.
#[test]
fn a_prompt_is_begun_but_not_ended() {
    let mut json: Value = serde_json::from_str(&arithmetic::tokenizer_json()).expect("JSON");
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [special("<|im_start|>"), text, special("<|im_end|>")],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]},
            "<|im_end|>": {"id": "<|im_end|>", "ids": [2], "tokens": ["<|im_end|>"]},
        },
    });
    let tokenizer =
        Tokenizer::from_json(&json.to_string(), &arithmetic::tokenizer_config(), None).expect("tokenizer");
    let text_of = |row: Value| tokenizer.decode(&read_row(&tokenizer, &row).ids, false).expect("text");
    assert_eq!(text_of(json!({"prompt": "3+4=", "completion": "7"})), "<|im_start|>3+4=7<|im_end|>");
    assert_eq!(text_of(json!({"prompt": "", "completion": "7"})), "<|im_start|>7<|im_end|>");
    assert_eq!(text_of(json!({"text": "3"})), "<|im_start|>3<|im_end|>");
}

#[test]
fn over_length_rows_are_cut_dropped_or_refused() {
    let tokenizer = small();
    let rows = [
        json!({"prompt": "1+1=", "completion": "2"}),
        json!({"prompt": "11+11=", "completion": "22"}),
        json!({"prompt": "1111+1111=", "completion": "2222"}),
    ];
    let file = rows.map(|row| row.to_string()).join("\n");
    let with = |overlength| read(&tokenizer, file.as_bytes(), &Options { max_length: 7, overlength, ..OPTIONS });
    let cut = with(Overlength::Truncate).expect("dataset");
    // The third row's completion is cut off altogether.
    let want = Counts { rows: 3, kept: 2, truncated: 1, dropped: 0, empty: 1, tokens: 13, targets: 3, longest: 15 };
    assert_eq!(cut.counts, want);
    assert_eq!(cut.examples[1].ids, tokenizer.encode("11+11=2", false).expect("ids"));
    let dropped = with(Overlength::Drop).expect("dataset");
    assert_eq!((dropped.counts.kept, dropped.counts.dropped, dropped.counts.truncated), (1, 2, 0));
    let error = with(Overlength::Error).expect_err("too long").to_string();
    assert!(error.contains("rows.jsonl, line 2:") && error.contains("9 tokens"), "{error}");
}

#[test]
fn rows_are_numbered_and_blank_lines_skipped() {
    let file = "\u{FEFF}{\"text\": \"1+1\"}\r\n\r\n  \n{\"text\": \"2+2\", \"idx\": 40}\n{\"text\": \"3+3\"}";
    let dataset = read(&small(), file.as_bytes(), &OPTIONS).expect("dataset");
    let numbers: Vec<_> = dataset.examples.iter().map(|e| (e.idx, e.line)).collect();
    assert_eq!(numbers, [(0, 1), (40, 4), (2, 5)]);
}

#[test]
fn rows_without_anything_to_train_are_counted() {
    let rows = [
        json!({"prompt": "1+1=", "completion": ""}),
        json!({"text": ""}),
        json!({"messages": [{"role": "user", "content": "hello"}]}),
        turns(&["hello", ""]),
        json!({"prompt": "1+1=", "completion": "2"}),
    ];
    let dataset = read(&small(), rows.map(|row| row.to_string()).join("\n").as_bytes(), &OPTIONS).expect("dataset");
    assert_eq!((dataset.counts.rows, dataset.counts.kept, dataset.counts.empty), (5, 1, 4));
}

#[test]
fn malformed_rows_name_line_field_and_way_out() {
    let good = r#"{"text": "1"}"#;
    let cases: [(&[u8], &[&str]); 18] = [
        (b"{\"text\": ", &["is not JSON"]),
        (b"nonsense", &["is not JSON", "column 2"]),
        (b"[{\"text\": \"a\"}", &["is not JSON", "JSONL"]),
        (b"[1, 2]", &["a list", "wanted an object"]),
        (b"{}", &["no fields", "`messages`", "`prompt`", "`text`"]),
        (b"{\"question\": \"a\", \"answer\": \"b\"}", &["`question`, `answer`", "wanted `messages`"]),
        (b"{\"prompt\": \"a\"}", &["`completion` is missing"]),
        (b"{\"completion\": \"a\"}", &["`prompt` is missing"]),
        (b"{\"prompt\": 3, \"completion\": \"a\"}", &["`prompt` is a number", "wanted a string"]),
        (b"{\"prompt\": \"a\", \"completion\": null}", &["`completion` is null"]),
        (b"{\"text\": [\"a\"]}", &["`text` is a list"]),
        (b"{\"text\": \"a\", \"idx\": -1}", &["`idx` is -1", "whole number"]),
        (b"{\"text\": \"a\", \"idx\": \"7\"}", &["`idx` is \"7\""]),
        (b"{\"text\": \"a\", \"idx\": 0}", &["`idx`: 0", "line 1"]),
        (b"{\"messages\": []}", &["`messages` is empty"]),
        (b"{\"messages\": [\"hi\"]}", &["`messages[0]` is a string"]),
        (b"{\"messages\": [{\"role\": \"user\", \"content\": 5}]}", &["`messages[0].content` is a number"]),
        (b"{\"text\": \"\xff\"}", &["not UTF-8", "byte 10"]),
    ];
    for (row, wants) in cases {
        let file = [good.as_bytes(), b"\n\n", row, b"\n"].concat();
        let error = read(&small(), &file, &OPTIONS).expect_err(&String::from_utf8_lossy(row)).to_string();
        assert!(error.contains("rows.jsonl, line 3: "), "{error}");
        wants.iter().for_each(|want| assert!(error.contains(want), "wanted {want:?} in: {error}"));
    }
}

#[test]
fn tokens_outside_the_vocabulary_and_missing_files_are_errors() {
    let options = Options { vocab: Some(10), ..OPTIONS };
    let error = read(&small(), br#"{"text": "1+1"}"#, &options).expect_err("outside").to_string();
    assert!(error.contains("line 1") && error.contains("vocabulary of 10"), "{error}");
    let error = load(Path::new("/nowhere/rows.jsonl"), &small(), &OPTIONS).expect_err("missing").to_string();
    assert!(error.contains("/nowhere/rows.jsonl"), "{error}");
    let bare = Tokenizer::from_json(&arithmetic::tokenizer_json(), "{}", None).expect("tokenizer");
    let error = read(&bare, br#"{"text": "1+1"}"#, &OPTIONS).expect_err("no EOS").to_string();
    assert!(error.contains("eos_token"), "{error}");
    let error =
        read(&bare, turns(&["a", "b"]).to_string().as_bytes(), &OPTIONS).expect_err("no template").to_string();
    assert!(error.contains("chat_template.jinja"), "{error}");
}

#[test]
fn a_preview_gives_the_text_back() {
    let Some(root) = support::shared("a_preview_gives_the_text_back", "tokenizers") else { return };
    for name in ["qwen3", "phi3_mini", "gemma3"] {
        let tokenizer = support::tokenizer(&root, name);
        let example = read_row(&tokenizer, &turns(&["Ünï 日本 🎉", "Ça marche — 好的 🎉"]));
        let pieces = pieces(&tokenizer, &example).expect("pieces");
        let join = |only: Option<bool>| -> String {
            let wanted = pieces.iter().filter(|piece| only.is_none_or(|trained| piece.trained == trained));
            wanted.map(|piece| piece.text.as_str()).collect()
        };
        assert_eq!(join(None), tokenizer.decode(&example.ids, false).expect("text"), "{name}");
        assert!(join(Some(true)).contains("Ça marche — 好的 🎉"), "{name}: {pieces:?}");
        assert!(!join(None).contains('\u{FFFD}'), "{name}");
    }
}
