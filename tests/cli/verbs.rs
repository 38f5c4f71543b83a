//! Every verb on a good day, and its help.

use serde_json::{Value as Json, json};

use super::support::{Desk, ROWS, shape};

#[test]
fn every_verb_teaches_itself() {
    let run = "--model --data --out --max-length --batch-size --epochs --max-steps --lr --lr-scheduler --warmup \
               --weight-decay --clip --seed --no-shuffle --dtype --device --save-every --keep --resume --overlength --set";
    let cases = [
        ("", "demo devices init train score curriculum wmss compare eval generate data bench plan 130"),
        ("demo", "--out --seed --device --json"),
        ("devices", "--device --json"),
        ("doctor", "--device --json"),
        ("bench", "--suite --filter --device --memory --out --json compare"),
        ("init", "--config --tokenizer --seed --out"),
        (
            "train",
            &format!(
                "{run} --method --weak --weak-share --candidate --held-out --weak-source --lambda --lambda-schedule \
                 --lambda-end --amplification --freeze-weak --cache-weak --teacher --temperature --hard-share --undial-beta \
                 --noise-alpha --label-smoothing --diagnostics --weights RUN.TOML 130"
            ),
        ),
        ("score", "--model --data --out idx entropy loss tokens"),
        (
            "curriculum",
            "--weak --strong --earliest --rule brownboost uniform --alpha --beta --gamma --out idx weight entropy_weak entropy_strong",
        ),
        (
            "wmss",
            &format!(
                "{run} --rounds --rule --weak-source --alpha --beta --gamma --multiplier --lambda --freeze-weak --cache-weak RUN.TOML"
            ),
        ),
        (
            "compare",
            &format!(
                "{run} --arms --seeds --equal flops --held-out --teacher M0 M1 neftune undial self-distill curriculum \
                 mix:lambda=0.7"
            ),
        ),
        (
            "eval",
            "--model --data --json --task gsm8k svamp math500 aime amc aqua mawps humaneval mbpp --file --out --style \
             --shots --shots-file --draw-shots --samples --temperature --limit --seed --run-code --grader --time-limit",
        ),
        ("generate", "--model --prompt --chat --max-new-tokens --temperature --top-p --top-k --seed"),
        ("data", "--model --data --preview --json"),
        ("plan", &format!("{run} --method --memory --json")),
    ];
    let desk = Desk::new();
    for (verb, words) in cases {
        let told = desk.ok(&format!("{verb} --help"));
        for word in words.split_whitespace() {
            assert!(told.stdout.contains(word), "underdog {verb} --help does not mention {word}:\n{}", told.stdout);
        }
    }
    assert!(desk.ok("--version").stdout.starts_with("underdog "));
    assert_eq!(desk.line("").code, Some(2));
}

#[test]
fn devices_are_listed_and_one_is_chosen() {
    let desk = Desk::new();
    let found = desk.json("devices");
    let adapters = found["adapters"].as_array().unwrap();
    assert_eq!(adapters.iter().filter(|a| a["chosen"] == true).count(), 1, "{found}");
    for adapter in adapters {
        for field in ["name", "backend", "kind", "driver"] {
            assert!(adapter[field].is_string(), "{field} of {adapter}");
        }
        assert!(adapter["max_binding_bytes"].as_u64().unwrap() >= 128 << 20);
    }
    let text = desk.ok("devices").stdout;
    let chosen = adapters.iter().find(|a| a["chosen"] == true).unwrap()["name"].as_str().unwrap();
    assert!(text.contains(chosen) && text.contains("would be used"), "{text}");
    let by_index = desk.json("devices --device 0");
    assert!(by_index["why"].as_str().unwrap().contains('0'), "{by_index}");
}

#[test]
fn init_makes_the_same_model_from_the_same_seed() {
    let desk = Desk::new();
    let made = desk.json("init --config config.json --tokenizer tokenizer --seed 1 --out again");
    desk.ok("init --config config.json --tokenizer tokenizer --seed 2 --out other");
    assert_eq!(made["out"], "again");
    assert_eq!(desk.bytes("again/model.safetensors"), desk.bytes("m/model.safetensors"));
    assert_ne!(desk.bytes("other/model.safetensors"), desk.bytes("m/model.safetensors"));
    assert_eq!(desk.read("m/tokenizer.json"), desk.read("tokenizer/tokenizer.json"));
    assert_eq!(made["parameters"], desk.json("plan --model m")["parameters"]);
}

#[test]
fn data_shows_what_is_trained() {
    let desk = Desk::new();
    let text = desk.ok("data --model m --data data.jsonl --preview 1").stdout;
    let first = &desk.rows("data.jsonl")[0];
    let trained = format!("⟦{}<|im_end|>⟧", first["completion"].as_str().unwrap());
    assert!(text.contains(&trained) && text.contains("idx 0, line 1"), "{text}");
    assert!(!text.contains("idx 1,"), "--preview 1 shows one\n{text}");

    let told = desk.ok("data --model m --data data.jsonl --json");
    let rows: Vec<Json> = told.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), ROWS);
    for (i, row) in rows.iter().enumerate() {
        let (ids, mask) = (row["ids"].as_array().unwrap(), row["mask"].as_array().unwrap());
        assert_eq!((row["idx"].as_u64(), ids.len()), (Some(i as u64), mask.len()));
        assert!(mask[0] == 0 && mask.last().unwrap() == 1, "prompts are not trained, ends are: {row}");
    }
}

#[test]
fn all_forms_of_rows_are_read() {
    let desk = Desk::new();
    let messages = json!({ "idx": 40, "messages": [
        { "role": "user", "content": "How many eggs?" }, { "role": "assistant", "content": "7" },
    ] });
    desk.write("mixed.jsonl", &format!("{messages}\n{}\n", json!({ "text": "Tom has 5 eggs.", "idx": 7 })));
    let told = desk.ok("data --model m --data mixed.jsonl");
    assert!(told.stdout.contains("⟦7<|im_end|>⟧"), "only the assistant's turn and its end\n{}", told.stdout);
    assert!(told.stdout.contains("idx 40, line 1") && told.stdout.contains("idx 7, line 2"), "{}", told.stdout);
    let eval = desk.json("eval --model m --data mixed.jsonl");
    assert_eq!(eval["samples"], 2);
}

#[test]
fn rows_left_out_or_cut_are_counted() {
    let desk = Desk::new();
    let rows = [("Tom has", "5"), ("Tom", ""), ("Tom has 5 eggs. Tom has 5 eggs. Tom has 5 eggs.", "15")];
    let rows = rows.map(|(prompt, completion)| json!({ "prompt": prompt, "completion": completion }).to_string());
    desk.write("some.jsonl", &rows.join("\n"));
    let told = desk.ok("eval --model m --data some.jsonl");
    assert!(told.stderr.contains("warning: some.jsonl: 1 of 3 rows left out: nothing of them is trained"));
    let told = desk.ok("eval --model m --data some.jsonl --max-length 6 --overlength drop");
    assert!(told.stderr.contains("1 of 3 rows left out: longer than max_length"), "{}", told.stderr);
    let told = desk.ok("data --model m --data data.jsonl --max-length 40");
    assert!(told.stderr.contains("rows cut to max_length"), "{}", told.stderr);
}

#[test]
fn scores_make_a_curriculum() {
    let desk = Desk::new();
    let most = shape()["vocab_size"].as_f64().unwrap().ln();
    for file in ["weak.jsonl", "strong.jsonl"] {
        let rows = desk.rows(file);
        assert_eq!(rows.len(), ROWS);
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(row.as_object().unwrap().keys().collect::<Vec<_>>(), ["idx", "entropy", "loss", "tokens"]);
            assert_eq!(row["idx"].as_u64(), Some(i as u64));
            assert!((0.0..most).contains(&row["entropy"].as_f64().unwrap()), "{row}");
        }
    }
    let rows = desk.rows("curriculum.jsonl");
    let fields = ["idx", "weight", "entropy_weak", "entropy_strong"];
    assert_eq!(rows[0].as_object().unwrap().keys().collect::<Vec<_>>(), fields);
    assert_eq!(desk.column("curriculum.jsonl", "entropy_weak"), desk.column("weak.jsonl", "entropy"));
    assert_eq!(desk.column("curriculum.jsonl", "entropy_strong"), desk.column("strong.jsonl", "entropy"));
    let sum: f64 = desk.column("curriculum.jsonl", "weight").iter().sum();
    assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    let told =
        desk.json("curriculum --weak weak.jsonl --strong strong.jsonl --alpha 1 --beta 0 --gamma 0 --out a.jsonl");
    assert_eq!(told["samples"], ROWS);
    let weak: f64 = desk.column("weak.jsonl", "entropy").iter().sum();
    for (weight, entropy) in desk.column("a.jsonl", "weight").iter().zip(desk.column("weak.jsonl", "entropy")) {
        assert!((weight - entropy / weak).abs() < 1e-12);
    }
}

#[test]
fn eval_agrees_with_the_scores() {
    let desk = Desk::new();
    let eval = desk.json("eval --model sft --data data.jsonl");
    let (tokens, losses) = (desk.column("strong.jsonl", "tokens"), desk.column("strong.jsonl", "loss"));
    let all: f64 = tokens.iter().sum();
    let loss = tokens.iter().zip(losses).map(|(tokens, loss)| tokens * loss).sum::<f64>() / all;
    assert_eq!((eval["tokens"].as_f64(), eval["samples"].as_u64()), (Some(all), Some(ROWS as u64)));
    assert!((eval["loss"].as_f64().unwrap() - loss).abs() < 1e-9, "{eval}");
    assert!((eval["perplexity"].as_f64().unwrap() - loss.exp()).abs() < 1e-6, "{eval}");
    let before = desk.json("eval --model m --data data.jsonl")["loss"].as_f64().unwrap();
    assert!(loss < before, "two epochs teach something: {before} -> {loss}");
    let scored = desk.json("score --model sft --data data.jsonl --out again.jsonl");
    assert!((scored["loss"].as_f64().unwrap() - loss).abs() < 1e-9, "{scored}");
    assert_eq!(desk.read("again.jsonl"), desk.read("strong.jsonl"), "the same bits on the same device");
}

#[test]
fn generation_repeats_itself() {
    let desk = Desk::new();
    let generate = |more: &str| {
        let mut args = vec!["generate", "--model", "sft", "--prompt", "Tom has 5", "--max-new-tokens", "8"];
        args.extend(more.split_whitespace());
        let told = desk.run(&args);
        assert_eq!(told.code, Some(0), "{}", told.stderr);
        told.stdout
    };
    let json = |more: &str| -> Json { serde_json::from_str(&generate(&format!("{more} --json"))).unwrap() };
    let greedy = json("");
    assert!(greedy["text"].is_string() && greedy["ended"].is_boolean(), "{greedy}");
    assert!((1..=8).contains(&greedy["ids"].as_array().unwrap().len()));
    assert_eq!(json("--seed 9"), greedy, "greedy decoding draws nothing");
    assert_eq!(generate(""), format!("{}\n", greedy["text"].as_str().unwrap()));
    let drawn = "--temperature 2 --top-k 100 --top-p 0.99";
    assert_eq!(json(&format!("{drawn} --seed 3")), json(&format!("{drawn} --seed 3")));
    assert_ne!(json(&format!("{drawn} --seed 3")), json(&format!("{drawn} --seed 4")));
    assert_ne!(json("--chat"), greedy, "the template changes what the model reads");
}
