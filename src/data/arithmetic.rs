//! The built-in task: arithmetic word problems in two steps, from a seed, and a small tokenizer that fits them.
//!
//! A problem's three numbers decide whether it belongs to training or is held out, so that no held-out problem, under
//! any name or thing, is ever trained on. The numbers are small and the ways to combine them few: a tiny model learns
//! something within a minute, and not everything.

use serde_json::{Value as Json, json};

use super::random::{below, generator};

/// Which problems are wanted. The two sets are disjoint in their numbers, whatever the seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Seven eighths of all triples of numbers.
    Train,
    /// The other eighth.
    HeldOut,
}

/// A problem and its worked answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The question, with a line break at its end.
    pub prompt: String,
    /// Two steps and the result, as in `3+4=7 7-2=5\n#### 5`.
    pub completion: String,
}

/// The end-of-text token of [`tokenizer_json`].
pub const EOS: &str = "<|im_end|>";

/// A chat template for [`tokenizer_json`].
pub const CHAT_TEMPLATE: &str = "\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
";

const NAMES: [&str; 8] = ["Ann", "Ben", "Mia", "Tom", "Eva", "Max", "Zoe", "Sam"];
const THINGS: [&str; 8] = ["apples", "books", "coins", "pens", "cards", "stones", "eggs", "stamps"];

/// How a template combines its three numbers.
#[derive(Clone, Copy)]
enum Steps {
    AddAdd,
    AddTake,
    TakeAdd,
    TimesAdd,
    TimesTake,
}

/// `N` a name, `T` a thing, `A`, `B`, `C` the numbers.
const TEMPLATES: [(&str, Steps); 10] = [
    ("N has A T. N finds B more and then buys C more. How many T does N have now?", Steps::AddAdd),
    ("There are A T on a table and B T in a box. N brings C more. How many T are there?", Steps::AddAdd),
    ("N has A T and gets B more. Then N gives C away. How many T are left?", Steps::AddTake),
    ("A shop has A T. It buys B T and sells C T. How many T does the shop have now?", Steps::AddTake),
    ("N had A T. N lost B of them and found C. How many T does N have now?", Steps::TakeAdd),
    ("Of A T, N sells B. The next day N gets C more. How many T does N have?", Steps::TakeAdd),
    ("N has A boxes with B T each and C T more. How many T are there?", Steps::TimesAdd),
    ("Each of A friends brings B T. N adds C T. How many T are there now?", Steps::TimesAdd),
    ("N buys A bags of B T and gives C away. How many T are left?", Steps::TimesTake),
    ("There are A rows of B T. N takes C of them. How many T are left?", Steps::TimesTake),
];

/// `count` problems from `seed`; the same every time, everywhere.
pub fn problems(seed: u64, count: usize, split: Split) -> Vec<Problem> {
    let mut rng = generator(seed, b"problems", u64::from(split == Split::HeldOut));
    let mut pick = |bound: usize| below(&mut rng, bound as u64) as usize;
    let mut problems = Vec::with_capacity(count);
    while problems.len() < count {
        let (template, steps) = TEMPLATES[pick(TEMPLATES.len())];
        let (name, thing) = (NAMES[pick(NAMES.len())], THINGS[pick(THINGS.len())]);
        let [a, b, c] = numbers(steps, &mut pick);
        if split_of(a, b, c) == split {
            let prompt = prompt(template, name, thing, [a, b, c]);
            problems.push(Problem { prompt, completion: answer(steps, [a, b, c]) });
        }
    }
    problems
}

fn split_of(a: usize, b: usize, c: usize) -> Split {
    if (a + 3 * b + 5 * c).is_multiple_of(8) { Split::HeldOut } else { Split::Train }
}

/// Numbers that keep every result between 0 and 34.
fn numbers(steps: Steps, pick: &mut impl FnMut(usize) -> usize) -> [usize; 3] {
    match steps {
        Steps::AddAdd | Steps::AddTake => {
            let (a, b) = (2 + pick(8), 2 + pick(8));
            [a, b, 2 + pick((a + b - 1).min(8))]
        }
        Steps::TakeAdd => {
            let a = 4 + pick(9);
            [a, 2 + pick(a - 2), 2 + pick(8)]
        }
        Steps::TimesAdd | Steps::TimesTake => {
            let (a, b) = (2 + pick(4), 2 + pick(4));
            [a, b, 2 + pick((a * b - 1).min(8))]
        }
    }
}

/// Fills a template. Its capitals `N`, `T`, `A`, `B`, `C` are places only where they stand alone.
fn prompt(template: &str, name: &str, thing: &str, [a, b, c]: [usize; 3]) -> String {
    let mut first = true;
    let mut word = |word: &str| {
        let sentence_start = std::mem::take(&mut first);
        match word {
            "N" => name.to_string(),
            "T" => thing.to_string(),
            "A" if sentence_start => "A".to_string(),
            "A" => a.to_string(),
            "B" => b.to_string(),
            "C" => c.to_string(),
            other => other.to_string(),
        }
    };
    let mut text = String::new();
    for part in template.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let letters = part.trim_end_matches(|c: char| !c.is_alphanumeric());
        if !letters.is_empty() {
            text.push_str(&word(letters));
        }
        text.push_str(&part[letters.len()..]);
    }
    text + "\n"
}

fn answer(steps: Steps, [a, b, c]: [usize; 3]) -> String {
    let (first, second) = match steps {
        Steps::AddAdd => ('+', '+'),
        Steps::AddTake => ('+', '-'),
        Steps::TakeAdd => ('-', '+'),
        Steps::TimesAdd => ('*', '+'),
        Steps::TimesTake => ('*', '-'),
    };
    let apply = |x: usize, op: char, y: usize| match op {
        '+' => x + y,
        '-' => x.saturating_sub(y),
        _ => x * y,
    };
    let middle = apply(a, first, b);
    let result = apply(middle, second, c);
    format!("{a}{first}{b}={middle} {middle}{second}{c}={result}\n#### {result}")
}

/// A `tokenizer.json` for the problems: byte-level BPE without merges, whose vocabulary is the printable ASCII
/// characters and the words of the templates. Digits are always tokens of their own.
pub fn tokenizer_json() -> String {
    let specials = ["<|endoftext|>", "<|im_start|>", EOS, "<|unk|>"];
    let characters = ('!'..='~').chain(['\u{120}', '\u{10A}']).map(String::from);
    let tokens = specials.into_iter().map(String::from).chain(characters).chain(words());
    let vocab: serde_json::Map<String, Json> = tokens.enumerate().map(|(id, token)| (token, json!(id))).collect();
    let added = |(id, content): (usize, &str)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let added: Vec<Json> = specials.into_iter().enumerate().map(added).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": " ?[A-Za-z]+|[0-9]|[^A-Za-z0-9]"}, "behavior": "Isolated",
             "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        ]},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<|unk|>", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
                  "vocab": vocab, "merges": []},
    })
    .to_string()
}

/// The `tokenizer_config.json` beside [`tokenizer_json`].
pub fn tokenizer_config() -> String {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": EOS,
        "pad_token": "<|endoftext|>",
        "unk_token": "<|unk|>",
        "add_bos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": 4096,
    })
    .to_string()
}

/// The words of all problems, as the tokenizer cuts them: with the space before them, in order of appearance.
fn words() -> Vec<String> {
    let things = THINGS.iter().map(|thing| format!(" {thing}"));
    let names = NAMES.iter().flat_map(|name| [name.to_string(), format!(" {name}")]);
    let templates = TEMPLATES.iter().flat_map(|(template, _)| {
        let words = template.split_inclusive(' ').scan(false, |spaced, word| {
            let letters: String = word.chars().take_while(|c| c.is_ascii_alphabetic()).collect();
            let text = if std::mem::replace(spaced, true) { format!(" {letters}") } else { letters };
            Some(text)
        });
        words.collect::<Vec<_>>()
    });
    let mut words: Vec<String> = Vec::new();
    for word in templates.chain(names).chain(things) {
        let word = word.replace(' ', "\u{120}");
        if word.chars().filter(|&c| c != '\u{120}').count() > 1 && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}
