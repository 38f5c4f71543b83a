//! From a row to a problem: the field names under which these sets are published and passed on.

use serde_json::{Map, Value};

use crate::eval::answer::extract;
use crate::eval::problem::{Choice, CodeProblem, Kind, Problem, Task};

type Row = Map<String, Value>;
type Wrong = String;

const IDS: &[&str] = &["unique_id", "task_id", "ID", "id", "idx"];
const QUESTIONS: &[&str] =
    &["question", "Question", "sQuestion", "problem", "instruction", "input", "original_text", "text", "prompt"];
const ANSWERS: &[&str] = &["answer", "Answer", "correct", "lSolutions", "target", "ans"];
const SOLUTIONS: &[&str] = &["solution", "rationale"];
/// What the forms with the choices in the question put before them.
const CHOICES: &str = "Answer Choices:";

/// The problem in a row, or what is wrong with it.
pub(super) fn problem(task: Task, row: &Row) -> Result<Problem, Wrong> {
    let id = IDS.iter().find_map(|key| row.get(*key)).and_then(scalar).unwrap_or_default();
    match task.kind() {
        Kind::Math => math(row, id),
        Kind::Choice => choice(row, id),
        Kind::Code if task == Task::Humaneval => humaneval(row, id),
        Kind::Code => mbpp(row, id),
    }
}

fn math(row: &Row, id: String) -> Result<Problem, Wrong> {
    let question = match (row.get("Body").and_then(Value::as_str), row.get("Question").and_then(Value::as_str)) {
        (Some(body), Some(question)) => joined(body, question),
        _ => needed(row, QUESTIONS, "the question")?,
    };
    let (answer, solution) = gold(row)?;
    Ok(Problem { id, kind: Kind::Math, question, choices: Vec::new(), answer, solution, code: None })
}

/// SVAMP's story and question, with the full stop that some stories lack.
fn joined(body: &str, question: &str) -> String {
    let body = body.trim();
    let stop = if body.ends_with(['.', '?', '!', ',']) { "" } else { "." };
    format!("{body}{stop} {}", question.trim())
}

/// The gold answer and the worked solution, either of which may hold the other.
fn gold(row: &Row) -> Result<(String, Option<String>), Wrong> {
    let solution = field(row, SOLUTIONS);
    if let Some(answer) = field(row, ANSWERS) {
        let Some((_, last)) = answer.rsplit_once("####") else { return Ok((answer, solution)) };
        return match last.trim() {
            "" => Err("`answer` has nothing behind its `####`".into()),
            last => Ok((last.to_owned(), Some(answer.clone()))),
        };
    }
    match solution.as_deref().and_then(extract::gold_of_solution) {
        Some(answer) => Ok((answer.to_owned(), solution)),
        None => Err(missing(ANSWERS, "the gold answer")),
    }
}

fn choice(row: &Row, id: String) -> Result<Problem, Wrong> {
    let text = needed(row, QUESTIONS, "the question")?;
    let (question, choices) = match row.get("options") {
        Some(options) => (text, listed(options)?),
        None => {
            let (question, choices) =
                text.split_once(CHOICES).ok_or("`options` is missing, and the question has no `Answer Choices:`")?;
            (question.trim().to_owned(), inline(choices))
        }
    };
    if choices.len() < 2 {
        return Err("fewer than two choices are given".into());
    }
    let answer = needed(row, ANSWERS, "the letter of the right choice")?;
    if !choices.iter().any(|choice| choice.letter == answer) {
        return Err(format!("the right choice is `{answer}`, which is none of the letters of the choices"));
    }
    let solution = field(row, SOLUTIONS);
    Ok(Problem { id, kind: Kind::Choice, question, choices, answer, solution, code: None })
}

/// `["A)5", "B)6"]`.
fn listed(options: &Value) -> Result<Vec<Choice>, Wrong> {
    let texts = options.as_array().ok_or("`options` is not a list")?;
    let one = |text: &Value| {
        let text = text.as_str()?.trim();
        let text = text.strip_prefix('(').unwrap_or(text);
        let (letter, text) = text.split_at_checked(1).filter(|(l, _)| l.bytes().all(|b| b.is_ascii_uppercase()))?;
        let text = text.strip_prefix([')', '.', ':'])?.trim().to_owned();
        Some(Choice { letter: letter.to_owned(), text })
    };
    texts
        .iter()
        .map(|text| one(text).ok_or_else(|| format!("`options` holds {text}, wanted the form \"A)5\"")))
        .collect()
}

/// `(A) 5 (B) 6`: letters in their order, so that brackets within a choice do not end it.
fn inline(text: &str) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    let mut rest = text;
    for letter in 'A'..='Z' {
        let Some((before, after)) = rest.split_once(&format!("({letter})")) else { break };
        if let Some(last) = choices.last_mut() {
            last.text = before.trim().to_owned();
        }
        choices.push(Choice { letter: letter.to_string(), text: String::new() });
        rest = after;
    }
    if let Some(last) = choices.last_mut() {
        last.text = rest.trim().to_owned();
    }
    choices
}

fn humaneval(row: &Row, id: String) -> Result<Problem, Wrong> {
    let raw =
        |key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| missing(&[key], "text"));
    let question = raw("prompt")?;
    let entry_point = identifier(&raw("entry_point")?)?;
    let answer = raw("canonical_solution").unwrap_or_default();
    let code = Some(CodeProblem { entry_point, setup: String::new(), tests: vec![raw("test")?] });
    let solution = Some(answer.clone()).filter(|s| !s.is_empty());
    Ok(Problem { id, kind: Kind::Code, question, choices: Vec::new(), answer, solution, code })
}

fn mbpp(row: &Row, id: String) -> Result<Problem, Wrong> {
    let question = needed(row, &["text", "prompt"], "the task")?;
    let tests = texts(row, "test_list")?;
    let first = tests.first().ok_or("`test_list` is empty")?;
    let imports =
        if row.contains_key("test_imports") { texts(row, "test_imports")?.join("\n") } else { String::new() };
    let setup = field(row, &["test_setup_code"]).unwrap_or(imports);
    let answer = field(row, &["code"]).unwrap_or_default().replace("\r\n", "\n");
    let entry_point = identifier(called(first, &answer).ok_or("`test_list` calls no function")?)?;
    let solution = Some(answer.clone()).filter(|s| !s.is_empty());
    let code = Some(CodeProblem { entry_point, setup, tests });
    Ok(Problem { id, kind: Kind::Code, question, choices: Vec::new(), answer, solution, code })
}

/// The function that an assertion calls: the first name before a bracket that the reference defines, else the first.
fn called<'t>(assertion: &'t str, reference: &str) -> Option<&'t str> {
    let names = assertion.match_indices('(').filter_map(|(at, _)| {
        let before = assertion[..at].trim_end();
        let name = &before[before.rfind(|c: char| c != '_' && !c.is_ascii_alphanumeric()).map_or(0, |i| i + 1)..];
        (!name.is_empty() && name != "assert").then_some(name)
    });
    let names: Vec<&str> = names.collect();
    names.iter().find(|name| reference.contains(&format!("def {name}"))).or(names.first()).copied()
}

fn identifier(name: &str) -> Result<String, Wrong> {
    let word = name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if word && !name.is_empty() {
        Ok(name.to_owned())
    } else {
        Err(format!("`{name}` is not the name of a Python function"))
    }
}

fn texts(row: &Row, key: &str) -> Result<Vec<String>, Wrong> {
    let list = row.get(key).and_then(Value::as_array).ok_or_else(|| format!("`{key}` is missing or not a list"))?;
    let text =
        |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| format!("`{key}` holds {item}, wanted text"));
    list.iter().map(text).collect()
}

/// The first of the fields that is there and not empty.
fn field(row: &Row, keys: &[&str]) -> Option<String> {
    keys.iter().filter_map(|key| row.get(*key)).filter_map(scalar).find(|text| !text.is_empty())
}

fn needed(row: &Row, keys: &[&str], what: &str) -> Result<String, Wrong> {
    field(row, keys).ok_or_else(|| missing(keys, what))
}

fn missing(keys: &[&str], what: &str) -> Wrong {
    format!(
        "has no {}, which holds {what}",
        keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" or ")
    )
}

/// A text, trimmed, or a number; 27.0 is written 27.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => {
            let text = number.to_string();
            Some(text.strip_suffix(".0").map_or(text.clone(), str::to_owned))
        }
        _ => None,
    }
}
