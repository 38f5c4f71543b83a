//! Code problems: from a generated text to the program that the sandbox runs.

use super::answer::extract;
use super::problem::Problem;
use super::prompt::Style;
use super::sandbox::program as harness;

/// The Python program that tests a generated text, or why the text holds none.
///
/// A completion is taken as it is, a chat's reply from behind its thinking; see [`harness`] for how each set is run.
pub fn program(problem: &Problem, style: Style, text: &str) -> Result<String, &'static str> {
    let code = problem.code.as_ref().ok_or("the problem is not one of code")?;
    let text = match style {
        Style::Completion | Style::Plain => text,
        Style::Boxed | Style::Wmss => extract::reply(text).ok_or("the text ends before the thinking does")?,
    };
    if text.trim().is_empty() {
        return Err("the text holds no code");
    }
    Ok(match &code.tests[..] {
        [check] if check.contains("def check(") => {
            harness::human_eval(&problem.question, text, check, &code.entry_point)
        }
        asserts => harness::mbpp(&code.setup, text, asserts),
    })
}

/// The text up to the first of the strings that end it.
pub fn cut<'t>(text: &'t str, stop: &[String]) -> &'t str {
    harness::cut(text, &stop.iter().map(String::as_str).collect::<Vec<_>>())
}
