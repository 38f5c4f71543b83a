//! What Python does and the template engine does not: JSON as `json.dumps` writes it, and iteration.

use std::borrow::Cow;
use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters};

/// Gives `env` the names that transformers gives its templates, with Python's meaning.
pub(super) fn install(env: &mut Environment<'static>) {
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.add_function("raise_exception", raise_exception);
    env.add_filter("tojson", to_json);
    env.add_test("iterable", is_iterable);
    env.add_filter(super::source::EACH, each);
    env.add_function(super::source::PLUS, plus);
    env.add_filter("map", |state: &mut State, value: Value, args: Arguments| {
        filters::map(state, value, args).map(Generator::value)
    });
    env.add_filter("select", |state: &mut State, value: Value, test: Name<'_>, args: Arguments| {
        filters::select(state, value, test, args).map(Generator::value)
    });
    env.add_filter("reject", |state: &mut State, value: Value, test: Name<'_>, args: Arguments| {
        filters::reject(state, value, test, args).map(Generator::value)
    });
    env.add_filter(
        "selectattr",
        |state: &mut State, value: Value, name: Cow<'_, str>, test: Name<'_>, args: Arguments| {
            filters::selectattr(state, value, name, test, args).map(Generator::value)
        },
    );
    env.add_filter(
        "rejectattr",
        |state: &mut State, value: Value, name: Cow<'_, str>, test: Name<'_>, args: Arguments| {
            filters::rejectattr(state, value, name, test, args).map(Generator::value)
        },
    );
}

type Arguments = Rest<ValueOrKwargs>;
type Name<'a> = Option<Cow<'a, str>>;

/// What Python's lazy filters give: it can be walked, and is not a list.
#[derive(Debug)]
struct Generator(Vec<Value>);

impl Generator {
    fn value(items: Vec<Value>) -> Value {
        Value::from_object(Self(items))
    }
}

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.clone())
    }
}

fn each(value: Value) -> Result<Value, Error> {
    if value.is_none() {
        return Err(wrong("None is not iterable"));
    }
    Ok(value)
}

/// `a + b`, where a safe string escapes the other one, as Python's does.
fn plus(state: &mut State, a: &Value, b: &Value) -> Result<Value, Error> {
    match (a.as_str(), b.as_str()) {
        (Some(left), Some(right)) if a.is_safe() || b.is_safe() => {
            let part = |value: &Value, text: &str| if value.is_safe() { text.to_string() } else { escaped(text) };
            Ok(Value::from_safe_string(part(a, left) + &part(b, right)))
        }
        _ => state.env().compile_expression("a + b")?.eval(minijinja::context!(a, b)),
    }
}

fn escaped(text: &str) -> String {
    let marks = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&#34;"), ("'", "&#39;")];
    marks.iter().fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(wrong(message.to_string()))
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

fn wrong(reason: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// Deeper values than this are refused, as Python's recursion limit would.
const MAX_DEPTH: usize = 500;

/// What `json.dumps` writes, and how it separates and orders.
struct Json {
    ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item: String,
    key: String,
    out: String,
}

fn to_json(value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")?.filter(|indent| !indent.is_none()) {
        None => None,
        Some(v) => Some(match v.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(usize::try_from(i64::try_from(v)?.clamp(0, 64)).unwrap_or(0)),
        }),
    };
    let (item, key) = match kwargs.get::<Option<Vec<String>>>("separators")?.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(wrong("separators wants two strings")),
        None => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
    };
    let flag = |name| Ok::<_, Error>(kwargs.get::<Option<bool>>(name)?.unwrap_or(false));
    let (ascii, sort_keys) = (flag("ensure_ascii")?, flag("sort_keys")?);
    kwargs.assert_all_used()?;
    let mut json = Json { ascii, sort_keys, indent, item, key, out: String::new() };
    json.write(value, 0)?;
    Ok(Value::from(json.out))
}

impl Json {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH || self.out.len() > super::MAX_OUTPUT {
            return Err(wrong("the value is too deep or too large for tojson"));
        }
        match value.kind() {
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable if value.downcast_object_ref::<Generator>().is_none() => {
                self.list('[', ']', value.try_iter()?, depth, |json, item| json.write(&item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut pairs = Vec::new();
                for key in value.try_iter()? {
                    let text = match key.as_str() {
                        Some(text) => text.to_string(),
                        None => {
                            scalar(&key).ok_or_else(|| wrong(format!("keys must be strings, not {}", key.kind())))?
                        }
                    };
                    pairs.push((text, value.get_item(&key)?));
                }
                if self.sort_keys {
                    pairs.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.list('{', '}', pairs, depth, |json, (key, item)| {
                    json.string(&key)?;
                    json.out += &json.key;
                    json.write(&item, depth + 1)
                })?;
            }
            kind => {
                self.out += &scalar(value).ok_or_else(|| wrong(format!("{kind} is not JSON serializable")))?;
            }
        }
        Ok(())
    }

    fn list<T>(
        &mut self,
        open: char,
        close: char,
        items: impl IntoIterator<Item = T>,
        depth: usize,
        mut write: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        let mut empty = true;
        for item in items {
            if !empty {
                self.out += &self.item;
            }
            empty = false;
            self.new_line(depth + 1);
            write(self, item)?;
        }
        if !empty {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        let quoted = serde_json::to_string(text).map_err(|e| wrong(e.to_string()))?;
        for c in quoted.chars() {
            if self.ascii && c > '~' {
                let mut units = [0; 2];
                self.out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            } else {
                self.out.push(c);
            }
        }
        Ok(())
    }
}

/// What has neither quotes nor brackets, as Python's `json` writes it.
fn scalar(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::None => Some("null".into()),
        ValueKind::Bool => Some(value.is_true().to_string()),
        ValueKind::Number => Some(number(value)),
        _ => None,
    }
}

/// A number as Python's `repr` writes it.
fn number(value: &Value) -> String {
    let Some(x) = f64::try_from(value.clone()).ok().filter(|_| !value.is_integer()) else { return value.to_string() };
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..16 => format!("{x:?}"),
        e => format!("{digits}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs()),
    }
}
