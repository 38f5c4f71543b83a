//! Tokenizers against the ids of the reference implementation, and against hostile definitions.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use underdog::data::arithmetic;
use underdog::data::template::{Chat, Moment};
use underdog::data::tokenizer::Tokenizer;

use crate::support;

const NAMES: [&str; 8] =
    ["qwen3", "qwen2_5", "llama3_2", "gemma3", "mistral_7b_v0_1", "gpt2", "phi3_mini", "minimind"];

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("ids").iter().map(|id| id.as_u64().expect("id") as u32).collect()
}

fn texts(root: &Path) -> HashMap<u64, String> {
    let text = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("text row");
        (row["id"].as_u64().expect("id"), row["text"].as_str().expect("text").to_string())
    };
    support::text(&root.join("tokenizer_goldens/texts.jsonl")).lines().map(text).collect()
}

/// What a golden row says and the tokenizer does not.
fn differences(tokenizer: &Tokenizer, text: &str, row: &Value) -> Vec<String> {
    let want = ids(&row["ids"]);
    let (prefix, suffix) = (ids(&row["with_special"]["prefix"]), ids(&row["with_special"]["suffix"]));
    let tokens = tokenizer.encode_with_bytes(text).expect("tokens");
    let decoded = |field: &str| if row[field] == "same" { text } else { row[field].as_str().expect("text") };
    let characters = |at: usize| text[..at].chars().count();
    let offsets: Vec<_> = tokens.iter().map(|t| [characters(t.bytes.start), characters(t.bytes.end)]).collect();
    let checks = [
        ("ids", tokenizer.encode(text, false).expect("ids") == want),
        ("ids with bytes", tokens.iter().map(|t| t.id).eq(want.iter().copied())),
        ("special", tokenizer.encode(text, true).expect("ids") == [&prefix[..], &want, &suffix].concat()),
        ("prefix", tokenizer.encode_prefix(text).expect("ids") == [&prefix[..], &want].concat()),
        ("decoded", tokenizer.decode(&want, false).expect("text") == decoded("decoded")),
        ("skipped", tokenizer.decode(&want, true).expect("text") == decoded("decoded_skip_special")),
        ("offsets", row.get("offsets").is_none_or(|want| *want == json!(offsets))),
        ("stream", streamed(tokenizer, &want) == decoded("decoded")),
    ];
    checks.iter().filter(|(_, same)| !same).map(|(what, _)| format!("text {}: {what}", row["id"])).collect()
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream(false);
    let text: String = ids.iter().map(|&id| stream.push(id).expect("text")).collect();
    text + &stream.finish().expect("text")
}

#[test]
fn encodes_and_decodes_every_golden_row() {
    let Some(root) = support::shared("encodes_and_decodes_every_golden_row", "tokenizer_goldens") else { return };
    let texts = texts(&root);
    let mut wrong = Vec::new();
    for name in NAMES {
        let tokenizer = support::tokenizer(&root, name);
        let rows = support::text(&root.join(format!("tokenizer_goldens/{name}.jsonl")));
        assert!(rows.lines().count() >= 155, "{name}");
        for line in rows.lines() {
            let row: Value = serde_json::from_str(line).expect("golden row");
            let text = &texts[&row["id"].as_u64().expect("id")];
            wrong.extend(differences(&tokenizer, text, &row).into_iter().map(|d| format!("{name} {d}")));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The ids that llama.cpp published for its own texts.
#[test]
fn agrees_with_the_ids_that_others_published() {
    let Some(root) = support::shared("agrees_with_the_ids_that_others_published", "tokenizer_goldens") else {
        return;
    };
    let folder = root.join("tokenizer_goldens/third_party");
    let input = support::text(&folder.join("ggml-vocab.inp"));
    let texts: Vec<_> = input.split("\n__ggml_vocab_test__\n").collect();
    let files = [
        ("gpt-2", "gpt2"),
        ("llama-bpe", "llama3_2"),
        ("llama-spm", "phi3_mini"),
        ("phi-3", "phi3_mini"),
        ("qwen2", "qwen2_5"),
    ];
    for (file, name) in files {
        let tokenizer = support::tokenizer(&root, name);
        let output = support::text(&folder.join(format!("ggml-vocab-{file}.out")));
        let mut compared = 0;
        for (text, line) in texts.iter().zip(output.split('\n')) {
            let want: Vec<u32> = line.split_whitespace().map(|id| id.parse().expect("id")).collect();
            assert_eq!(tokenizer.encode(text, false).expect("ids"), want, "{file}: {text:?}");
            compared += 1;
        }
        assert_eq!(compared, 47, "{file}");
    }
}

/// The ids and texts that swift-transformers published; theirs may begin with a BOS that our copy does not add.
#[test]
fn agrees_with_swift_transformers() {
    let Some(root) = support::shared("agrees_with_swift_transformers", "tokenizer_goldens") else { return };
    let read = |name: &str| -> Value {
        let path = root.join("tokenizer_goldens/third_party").join(name);
        serde_json::from_str(&support::text(&path)).expect("JSON")
    };
    let same = |tokenizer: &Tokenizer, text: &Value, want: &Value| {
        let (got, want) = (tokenizer.encode(text.as_str().expect("text"), false).expect("ids"), ids(want));
        assert!(got == want || got == want[1..], "{text}: {got:?} is not {want:?}");
    };
    let cases = read("swift_tokenizer_tests.json");
    let files = [
        ("distilgpt2", "gpt2", "swift_gpt2_encoded_tokens.json"),
        ("coreml-projects/Llama-2-7b-chat-coreml", "phi3_mini", "swift_llama_encoded.json"),
        ("pcuenq/Llama-3.2-1B-Instruct-tokenizer", "llama3_2", "swift_llama_3.2_encoded.json"),
    ];
    for (theirs, ours, long) in files {
        let tokenizer = support::tokenizer(&root, ours);
        let rows = cases[theirs].as_array().expect("rows");
        assert!(rows.len() >= 18, "{theirs}");
        rows.iter().for_each(|row| same(&tokenizer, &row["input"], &row["encoded"]["input_ids"]));
        let long = read(long);
        same(&tokenizer, &long["text"], &long["token_ids"]);
    }
}

/// A change to the small tokenizer's definition.
type Change = fn(&mut Value);

/// Each must be an error or harmless; none may panic or abort.
#[test]
fn hostile_definitions_do_no_harm() {
    let refused: [(&str, Change); 16] = [
        ("no model", |t| t["model"] = json!(null)),
        ("an unknown model", |t| t["model"]["type"] = json!("Oracle")),
        ("no vocabulary", |t| t["model"]["vocab"] = json!({})),
        ("a negative id", |t| t["model"]["vocab"]["x"] = json!(-1)),
        ("a huge id", |t| t["model"]["vocab"]["x"] = json!(4_294_967_295u64)),
        ("a huge added id", |t| t["added_tokens"][0]["id"] = json!(4_000_000_000u64)),
        ("an empty added token", |t| t["added_tokens"][0]["content"] = json!("")),
        ("a very long token", |t| t["model"]["vocab"]["x".repeat(100_000)] = json!(190)),
        ("a merge of unknown tokens", |t| t["model"]["merges"] = json!(["zz qq"])),
        ("a merge that is none", |t| t["model"]["merges"] = json!(["zz"])),
        ("dropout", |t| t["model"]["dropout"] = json!(0.5)),
        ("chunks of no length", |t| t["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0})),
        ("a bad pattern", |t| t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("(((")),
        ("an empty pattern", |t| t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("")),
        ("an unknown normalizer", |t| t["normalizer"] = json!({"type": "Magic"})),
        ("a bad character map", |t| {
            t["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "////fw=="});
        }),
    ];
    for (name, change) in refused {
        assert!(changed(change).is_err(), "{name}");
    }
    let survived: [(&str, Change); 9] = [
        ("unk_id outside", |t| t["model"] = json!({"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]]})),
        ("a deep trie", |t| t["model"] = json!({"type": "Unigram", "vocab": [["a".repeat(4000), 0.0], ["b", -1.0]]})),
        ("no unknown token", |t| t["model"]["unk_token"] = json!("nowhere")),
        ("slow pattern", |t| {
            t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("(?=(a+)+$)(x+x+)+y")
        }),
        ("a wide repeat", |t| {
            t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("((a{1000}){1000}){1000}")
        }),
        ("a vast padding", |t| {
            t["padding"] = json!({"strategy": {"Fixed": 1_000_000_000_000u64}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"})
        }),
        ("a truncation without end", |t| {
            t["truncation"] = json!({"max_length": 1, "stride": 5, "strategy": "LongestFirst",
            "direction": "Right"})
        }),
        ("a vast strip", |t| {
            t["decoder"] = json!({"type": "Strip", "content": "a", "start": 16_000_000, "stop": 16_000_000})
        }),
        ("words of no length", |t| {
            t["model"] = json!({"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "",
            "max_input_chars_per_word": 0, "vocab": {"a": 0}})
        }),
    ];
    for (name, change) in survived {
        let text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa xxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        let started = std::time::Instant::now();
        if let Ok(tokenizer) = changed(change) {
            let ids = tokenizer.encode(text, true).unwrap_or_default();
            assert!(ids.len() < 1000, "{name}");
            drop(tokenizer.decode(&[0, 1, 2, u32::MAX], false));
        }
        assert!(started.elapsed().as_secs() < 10, "{name}");
    }
    for text in ["", "{", "[]", "null", "{\"model\": 3}", &"[".repeat(100_000), &"{\"a\":".repeat(100_000)] {
        assert!(Tokenizer::from_json(text, "{}", None).is_err());
    }
}

fn changed(change: Change) -> Result<Tokenizer, underdog::data::Error> {
    let mut definition = serde_json::from_str(&arithmetic::tokenizer_json()).expect("JSON");
    change(&mut definition);
    Tokenizer::from_json(&definition.to_string(), "{}", None)
}

/// A definition cut short or with a character replaced: an error or a tokenizer, nothing else.
#[test]
fn damaged_definitions_do_no_harm() {
    let whole = arithmetic::tokenizer_json();
    for at in (0..whole.len()).step_by(23).filter(|&at| whole.is_char_boundary(at) && whole.is_char_boundary(at + 1))
    {
        assert!(Tokenizer::from_json(&whole[..at], "{}", None).is_err());
        for byte in ["9", "\"", "}", "x"] {
            let damaged = format!("{}{byte}{}", &whole[..at], &whole[at + 1..]);
            let tokenizer = Tokenizer::from_json(&damaged, "{}", None);
            drop(tokenizer.map(|tokenizer| tokenizer.encode("How many apples? 3+4=7", true)));
        }
    }
}

#[test]
fn a_folder_says_what_ends_a_text() {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("write");
    let open = || Tokenizer::open(folder.path());
    let missing = open().err().expect("no tokenizer.json").to_string();
    assert!(missing.contains("tokenizer.json"), "{missing}");
    write("tokenizer.json", &arithmetic::tokenizer_json());
    assert_eq!((open().expect("tokenizer").eos_id(), open().expect("tokenizer").eos_ids()), (None, &[][..]));
    write("config.json", r#"{"eos_token_id": 0}"#);
    assert_eq!(open().expect("tokenizer").eos_id(), Some(0));
    write("generation_config.json", r#"{"eos_token_id": [1, 0]}"#);
    write(
        "tokenizer_config.json",
        r#"{"eos_token": {"content": "<|im_end|>"}, "chat_template": [
        {"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]}"#,
    );
    let tokenizer = open().expect("tokenizer");
    assert_eq!((tokenizer.eos_id(), tokenizer.eos_ids()), (Some(2), &[2, 1, 0][..]));
    let text = |tools| {
        let chat = Chat { messages: &[], tools: None, add_generation_prompt: false, extra: None, now: Moment::now() };
        tokenizer.chat_template(tools).expect("template").render(chat).expect("renders").text
    };
    assert_eq!((text(false), text(true)), ("plain".into(), "tools".into()));
    write("chat_template.jinja", "{{ broken");
    let error = open().expect("tokenizer").chat_template(false).err().expect("broken").to_string();
    assert!(error.starts_with("chat template: "), "{error}");
    write("config.json", "{");
    let error = open().err().expect("damaged").to_string();
    assert!(error.contains("config.json") && error.contains("not JSON"), "{error}");
}
