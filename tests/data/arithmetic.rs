//! The built-in task.

use std::collections::HashSet;

use underdog::data::arithmetic::{CHAT_TEMPLATE, EOS, Problem, Split, problems, tokenizer_config, tokenizer_json};
use underdog::data::tokenizer::Tokenizer;

/// The numbers of a problem, from its prompt.
fn numbers(problem: &Problem) -> Vec<i64> {
    let words = problem.prompt.split(|c: char| !c.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn answers_are_right_and_splits_are_disjoint() {
    let (train, held_out) = (problems(1, 3000, Split::Train), problems(2, 3000, Split::HeldOut));
    let triples = |list: &[Problem]| list.iter().map(numbers).collect::<HashSet<_>>();
    assert!(triples(&train).is_disjoint(&triples(&held_out)));
    for problem in train.iter().chain(&held_out) {
        assert_eq!(numbers(problem).len(), 3, "{}", problem.prompt);
        let (steps, result) = problem.completion.split_once("\n#### ").expect("form");
        for step in steps.split(' ') {
            let (sum, value) = step.split_once('=').expect("equation");
            let at = sum.find(['+', '-', '*']).expect("operator");
            let (a, b): (i64, i64) = (sum[..at].parse().expect("a"), sum[at + 1..].parse().expect("b"));
            let want = match &sum[at..=at] {
                "+" => a + b,
                "-" => a - b,
                _ => a * b,
            };
            assert!(want >= 0 && value == want.to_string(), "{}", problem.completion);
        }
        assert!(steps.ends_with(&format!("={result}")), "{}", problem.completion);
    }
}

#[test]
fn problems_depend_on_the_seed_alone() {
    assert_eq!(problems(7, 50, Split::Train), problems(7, 50, Split::Train));
    assert_eq!(problems(7, 50, Split::Train)[..20], problems(7, 20, Split::Train)[..]);
    assert_ne!(problems(7, 50, Split::Train), problems(8, 50, Split::Train));
}

#[test]
fn the_tokenizer_is_small_short_and_lossless() {
    let tokenizer =
        Tokenizer::from_json(&tokenizer_json(), &tokenizer_config(), Some(CHAT_TEMPLATE)).expect("tokenizer");
    assert!(tokenizer.vocab_size() < 200, "{}", tokenizer.vocab_size());
    assert_eq!(tokenizer.eos_id(), tokenizer.token_id(EOS));
    let (mut tokens, all) = (0, problems(3, 500, Split::Train));
    for problem in &all {
        let text = format!("{}{}", problem.prompt, problem.completion);
        let ids = tokenizer.encode(&text, true).expect("ids");
        tokens += ids.len();
        assert_eq!(tokenizer.decode(&ids, false).expect("text"), text);
    }
    assert!(tokens / all.len() < 60, "{} tokens a problem", tokens / all.len());
    let odd = "Zebras? {x} ~ \"quoted\"\ttab";
    let ids = tokenizer.encode(odd, false).expect("ids");
    assert!(tokenizer.decode(&ids, true).expect("text").starts_with("Zebras? {x} ~ \"quoted\""));
    assert!(tokenizer.chat_template(false).is_ok());
}
