//! Chat templates: the Jinja programs that turn a conversation into the text a model was taught on.
//!
//! Renders what Hugging Face transformers renders, character for character, and knows which characters an assistant
//! wrote where the template marks them with `{% generation %}`. A template comes from a stranger's model folder, so its
//! source, the work it may do, its recursion and its output are bounded. The one thing the engine cannot bound is a
//! string that a template doubles in memory; such a template is as harmful as a file that is too large to hold.

mod python;
mod source;
mod stack;

use std::collections::BTreeMap;
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind, State};
use serde_json::{Map, Value as Json};

use super::error::Error;
pub use jiff::Timestamp as Moment;
pub(crate) use stack::on_big_stack;

/// The largest template source that is accepted, in bytes: the largest real one is a third of it.
const MAX_SOURCE: usize = 64 << 10;
/// The longest text one rendering may give, in bytes.
const MAX_OUTPUT: usize = 64 << 20;
/// Engine instructions one rendering may take; a turn of a conversation takes some hundreds.
const FUEL: u64 = 20_000_000;
/// The name under which the compiled template is registered.
const NAME: &str = "chat_template";

/// A compiled chat template and the special tokens it is rendered with.
pub struct ChatTemplate {
    env: Environment<'static>,
    special: BTreeMap<String, String>,
    marks_assistant: bool,
}

/// What is rendered: a conversation as it stands in a data row.
#[derive(Clone, Copy)]
pub struct Chat<'a> {
    /// Messages: objects with `role`, `content` and whatever else the template reads.
    pub messages: &'a [Json],
    /// Tool declarations, `None` when the conversation has none.
    pub tools: Option<&'a Json>,
    /// Whether the text ends with the header of a new assistant turn.
    pub add_generation_prompt: bool,
    /// Further variables, such as `enable_thinking`.
    pub extra: Option<&'a Map<String, Json>>,
    /// What `strftime_now` formats, in UTC.
    pub now: Moment,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Byte ranges of `text` that came out of `{% generation %}` blocks, in order.
    pub spans: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Compiles `source`. `special` holds the variables `bos_token`, `eos_token` and so on.
    ///
    /// Errors name what the template engine found and, where it knows it, the line of the template.
    pub fn new(source: &str, special: BTreeMap<String, String>) -> Result<Self, Error> {
        if source.len() > MAX_SOURCE {
            return Err(Error::Template(format!(
                "the template has {} bytes, more than the {MAX_SOURCE} allowed",
                source.len()
            )));
        }
        let (source, marks_assistant) = source::rewrite(source);
        let env = on_big_stack(|| compile(source))?.map_err(template_error)?;
        Ok(Self { env, special, marks_assistant })
    }

    /// Whether the template marks assistant text with `{% generation %}` blocks.
    pub fn marks_assistant(&self) -> bool {
        self.marks_assistant
    }

    /// Renders a conversation.
    pub fn render(&self, chat: Chat<'_>) -> Result<Rendered, Error> {
        let context = self.context(chat);
        let marks = Marks::absent_from(&context);
        let text = on_big_stack(|| self.render_marked(&context, marks, chat.now))?.map_err(template_error)?;
        marks.take_out(&text)
    }

    fn context(&self, chat: Chat<'_>) -> Map<String, Json> {
        let messages = chat.messages.iter().map(with_reasoning_aliases).collect();
        let mut context = Map::new();
        for (name, token) in &self.special {
            context.insert(name.clone(), Json::String(token.clone()));
        }
        context.insert("messages".into(), Json::Array(messages));
        context.insert("tools".into(), chat.tools.cloned().unwrap_or(Json::Null));
        context.insert("documents".into(), Json::Null);
        context.insert("add_generation_prompt".into(), Json::Bool(chat.add_generation_prompt));
        for (name, value) in chat.extra.into_iter().flatten() {
            context.insert(name.clone(), value.clone());
        }
        context
    }

    fn render_marked(
        &self,
        context: &Map<String, Json>,
        marks: Marks,
        now: Moment,
    ) -> Result<String, minijinja::Error> {
        let strftime_now = Value::from_function(move |format: &str| now.strftime(format).to_string());
        let generation = Value::from_function(move |state: &mut State, kwargs: Kwargs| {
            let caller: Value = kwargs.get("caller")?;
            let text = caller.call(state, &[])?;
            Ok::<_, minijinja::Error>(format!("{}{text}{}", marks.open, marks.close))
        });
        let given = context.iter().map(|(name, value)| (name.as_str(), Value::from(Serde(value))));
        let functions = [("strftime_now", strftime_now), (source::GENERATION, generation)];
        let root = Value::from_pairs(given.chain(functions));
        let mut out = Capped(Vec::new());
        self.env.get_template(NAME)?.render_captured_to(root, &mut out)?;
        String::from_utf8(out.0).map_err(|e| minijinja::Error::new(ErrorKind::WriteFailure, e.to_string()))
    }
}

fn compile(source: String) -> Result<Environment<'static>, minijinja::Error> {
    let mut env = Environment::new();
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_fuel(Some(FUEL));
    python::install(&mut env);
    env.add_template_owned(NAME, source)?;
    Ok(env)
}

/// The engine's error with its line and the errors that caused it, on one line.
fn template_error(error: minijinja::Error) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Error::Template(text)
}

/// transformers gives a message's reasoning under every name that templates read it by.
fn with_reasoning_aliases(message: &Json) -> Json {
    let mut message = message.clone();
    if let Json::Object(fields) = &mut message {
        let names = ["reasoning_content", "thinking", "reasoning"];
        let reasoning = names.iter().find_map(|name| fields.get(*name).filter(|v| !v.is_null()).cloned());
        if let Some(reasoning) = reasoning {
            fields.entry("thinking").or_insert_with(|| reasoning.clone());
            fields.insert("reasoning_content".into(), reasoning);
        }
    }
    message
}

/// Two characters that stand around assistant text while a template runs, and are taken out afterwards.
#[derive(Clone, Copy)]
struct Marks {
    open: char,
    close: char,
}

impl Marks {
    /// The first pair of Unicode noncharacters that no string of the context contains.
    fn absent_from(context: &Map<String, Json>) -> Self {
        let mut used = [false; 32];
        context.iter().for_each(|(_, value)| note_noncharacters(value, &mut used));
        let pair = (0..16).find(|i| !used[2 * i] && !used[2 * i + 1]).unwrap_or(0) as u32;
        let nth = |i: u32| char::from_u32(0xFDD0 + i).unwrap_or('\u{FDD0}');
        Self { open: nth(2 * pair), close: nth(2 * pair + 1) }
    }

    fn take_out(self, marked: &str) -> Result<Rendered, Error> {
        let mut rendered = Rendered { text: String::with_capacity(marked.len()), spans: Vec::new() };
        let mut starts = Vec::new();
        for c in marked.chars() {
            if c == self.open {
                starts.push(rendered.text.len());
            } else if c == self.close {
                let start = starts.pop().ok_or_else(unbalanced)?;
                rendered.spans.push(start..rendered.text.len());
            } else {
                rendered.text.push(c);
            }
        }
        if starts.is_empty() { Ok(rendered) } else { Err(unbalanced()) }
    }
}

fn unbalanced() -> Error {
    Error::Template("the template cuts or repeats the text of a {% generation %} block".into())
}

fn note_noncharacters(value: &Json, used: &mut [bool; 32]) {
    match value {
        Json::String(text) => {
            for c in text.chars().filter(|c| ('\u{FDD0}'..='\u{FDEF}').contains(c)) {
                used[(c as u32 - 0xFDD0) as usize] = true;
            }
        }
        Json::Array(items) => items.iter().for_each(|item| note_noncharacters(item, used)),
        Json::Object(fields) => fields.iter().for_each(|(_, item)| note_noncharacters(item, used)),
        _ => {}
    }
}

/// A buffer that refuses to grow over [`MAX_OUTPUT`].
struct Capped(Vec<u8>);

impl std::io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(std::io::Error::other(format!("the text grows over {MAX_OUTPUT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
