//! The published prompts. A prompt's words are the protocol under which a figure was measured, so they stand here
//! letter by letter, with their source. Worked examples are not part of this program: they are taken from a training
//! file at run time.
//!
//! | style | for | words | source |
//! |---|---|---|---|
//! | completion | base models | `Question: ... Answer:`, examples set apart by an empty line | lm-evaluation-harness, `gsm8k` (5 examples) |
//! | | MATH, AIME, AMC | `Problem: ... Solution:`, examples end in `The final answer is ...` | Lewkowycz et al. 2022, arXiv 2206.14858 (4 examples) |
//! | | HumanEval | the code itself | Chen et al. 2021, arXiv 2107.03374 (none) |
//! | | MBPP | `You are an expert Python programmer ... [BEGIN] ... [DONE]` | Austin et al. 2021, arXiv 2108.07732 (3 examples) |
//! | plain | models fine-tuned on bare questions | the question | none |
//! | boxed | chat models | the question, then `Please reason step by step ...` | model cards of Qwen2.5-Math and Qwen3 |
//! | | code | `Please provide a self-contained Python script ...` | EvalPlus, Liu et al. 2023, arXiv 2305.01210 |
//! | wmss | chat models | the system message that asks for `<think>` and `<answer>` | the code of arXiv 2602.08222 |
//!
//! SVAMP, MAWPS and AQuA have no few-shot form of their own: Wei et al. 2022 (arXiv 2201.11903) show 8 worked
//! examples (4 for AQuA), which is the number here. Their examples are hand-written and differ from any training
//! file's, so a figure with examples of one's own says so: `8 from FILE`, not `8-shot of Wei et al.`

use std::str::FromStr;

use super::error::Error;
use super::problem::{Choice, Kind, Problem, Task};
use super::sandbox::program::{HUMAN_EVAL_STOPS, MBPP_STOPS};
use super::stats::{below, generator};
use crate::choice::Choice as _;

crate::choice::choices! {
    /// How a problem is put to the model.
    pub enum Style {
        /// A text to go on with, after worked examples: for base models.
        Completion = "completion",
        /// The question as it stands and nothing else: for models fine-tuned on such prompts.
        Plain = "plain",
        /// A chat that asks for the answer in a box: for chat models.
        Boxed = "boxed",
        /// The chat of the authors of weak-driven learning. Mathematics only.
        Wmss = "wmss",
    }
}

impl Style {
    /// The style for a model with or without a chat template.
    pub fn default_for(has_chat_template: bool) -> Self {
        if has_chat_template { Self::Boxed } else { Self::Completion }
    }

    /// The number of worked examples with which figures are published.
    pub fn default_shots(self, task: Task) -> usize {
        if self == Self::Completion { task.published_shots() } else { 0 }
    }
}

impl FromStr for Style {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::named(name).ok_or_else(|| {
            Error::Argument(format!("there is no prompt style `{name}`; styles are completion, plain, boxed, wmss"))
        })
    }
}

/// What a chat says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// The words.
    pub content: String,
}

/// What the model is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A text to go on with, as it is.
    Text(String),
    /// Messages for the chat template, which then opens the assistant's turn.
    Messages(Vec<Message>),
}

/// A prompt and what ends its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// What the model is given.
    pub body: Body,
    /// Strings at which the generated text ends; see [`super::code::cut`]. An end-of-text token always ends it.
    pub stop: Vec<String>,
}

impl Prompt {
    /// The prompt as one text, to be hashed and shown.
    pub fn text(&self) -> String {
        match &self.body {
            Body::Text(text) => text.clone(),
            Body::Messages(messages) => {
                messages.iter().map(|m| format!("[{}]\n{}", m.role, m.content)).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// The words of Qwen's model cards.
const BOXED: &str = "Please reason step by step, and put your final answer within \\boxed{}.";
/// The words of EvalPlus.
const SCRIPT: &str =
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:";
/// The system message of the authors of weak-driven learning (`utils/prompts.py`).
const WMSS: &str = "You are a helpful assistant. To answer the user’s question, you first think about the reasoning \
    process and then provide the user with the answer. The reasoning process and answer are enclosed within <think> and \
    <answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>.";

/// The prompt of a problem, after the worked examples `shots` (completion only).
///
/// An example with the problem's own question is left out. Errors where the style does not fit the task.
pub fn prompt(task: Task, problem: &Problem, shots: &[Problem], style: Style) -> Result<Prompt, Error> {
    if style != Style::Completion && !shots.is_empty() {
        return Err(Error::Argument(format!(
            "the prompt style `{style}` takes no worked examples; use `completion`"
        )));
    }
    match style {
        Style::Completion => Ok(completion(task, problem, shots)),
        Style::Plain => Ok(Prompt { body: Body::Text(with_choices(problem)), stop: Vec::new() }),
        Style::Boxed => Ok(chat(vec![Message { role: "user", content: boxed(problem) }])),
        Style::Wmss if task.kind() == Kind::Code => Err(Error::Argument(
            "the prompt style `wmss` is for mathematics; use `boxed` or `completion` for code".into(),
        )),
        Style::Wmss => Ok(chat(vec![
            Message { role: "system", content: WMSS.into() },
            Message { role: "user", content: with_choices(problem) },
        ])),
    }
}

fn chat(messages: Vec<Message>) -> Prompt {
    Prompt { body: Body::Messages(messages), stop: Vec::new() }
}

fn boxed(problem: &Problem) -> String {
    match &problem.code {
        None => format!("{}\n{BOXED}", with_choices(problem)),
        Some(code) if problem.question.contains(&format!("def {}", code.entry_point)) => {
            format!("{SCRIPT}\n```\n{}\n```", problem.question.trim())
        }
        Some(code) => format!("{SCRIPT}\n```\n{}\n{}\n```", problem.question.trim(), code.tests.join("\n")),
    }
}

/// The question and its choices, in the form of Kojima et al. 2022 (arXiv 2205.11916), which the authors of
/// weak-driven learning use as well.
fn with_choices(problem: &Problem) -> String {
    if problem.choices.is_empty() {
        return problem.question.clone();
    }
    let one = |choice: &Choice| format!("({}) {}", choice.letter, choice.text);
    let choices: Vec<_> = problem.choices.iter().map(one).collect();
    format!("{} Answer Choices: {}", problem.question, choices.join(" "))
}

/// A few-shot form.
struct Form {
    ask: fn(&Problem) -> String,
    show: fn(&Problem) -> String,
    stop: &'static [&'static str],
}

fn form(task: Task) -> Form {
    match task {
        Task::Humaneval => Form { ask: |p| p.question.clone(), show: worked, stop: &HUMAN_EVAL_STOPS },
        Task::Mbpp => Form { ask: mbpp, show: |p| format!("{}\n[DONE]", worked(p)), stop: &MBPP_STOPS },
        Task::Math500 | Task::Aime | Task::Amc => Form {
            ask: |p| format!("Problem:\n{}\n\nSolution:", p.question),
            show: |p| {
                format!(" {}\nFinal Answer: The final answer is ${}$. I hope it is correct.", worked(p), p.answer)
            },
            stop: &["Problem:"],
        },
        _ => Form {
            ask: |p| format!("Question: {}\nAnswer:", with_choices(p)),
            show: |p| format!(" {}", worked(p)),
            stop: &["Question:"],
        },
    }
}

fn completion(task: Task, problem: &Problem, shots: &[Problem]) -> Prompt {
    let form = form(task);
    let mut text = String::new();
    for shot in shots.iter().filter(|shot| shot.question != problem.question) {
        text.push_str(&(form.ask)(shot));
        text.push_str(&(form.show)(shot));
        text.push_str("\n\n");
    }
    text.push_str(&(form.ask)(problem));
    Prompt { body: Body::Text(text), stop: form.stop.iter().map(|stop| (*stop).to_owned()).collect() }
}

fn mbpp(problem: &Problem) -> String {
    let tests = problem.code.as_ref().map(|code| code.tests.join("\n")).unwrap_or_default();
    let task = &problem.question;
    format!(
        "You are an expert Python programmer, and here is your task: {task} Your code should pass these tests:\n\n\
        {tests}\n[BEGIN]\n"
    )
}

/// A problem's worked solution; of one that only has its answer, the sentence of Wei et al. 2022.
fn worked(problem: &Problem) -> String {
    let says = match problem.kind {
        Kind::Choice => format!("The answer is ({}).", problem.answer),
        _ => format!("The answer is {}.", problem.answer),
    };
    match (&problem.solution, problem.kind) {
        (Some(solution), Kind::Choice) => format!("{solution}\n{says}"),
        (Some(solution), _) => solution.clone(),
        (None, _) => says,
    }
}

/// Which rows of a file serve as examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// The first ones.
    First,
    /// Drawn without replacement, the same for every problem of a run.
    Seeded(u64),
}

/// `count` worked examples. Errors where there are fewer.
pub fn pick_shots(problems: &[Problem], count: usize, pick: Pick) -> Result<Vec<Problem>, Error> {
    if problems.len() < count {
        return Err(Error::Argument(format!("{count} worked examples are wanted, the file has {}", problems.len())));
    }
    let mut order: Vec<usize> = (0..problems.len()).collect();
    if let Pick::Seeded(seed) = pick {
        let mut rng = generator(seed, b"examples");
        for at in 0..count {
            let with = at + below(&mut rng, order.len() - at);
            order.swap(at, with);
        }
    }
    Ok(order[..count].iter().map(|at| problems[*at].clone()).collect())
}
