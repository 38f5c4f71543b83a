//! What Python does and the template engine does not: JSON as `json.dumps` writes it, iteration, dates.

use std::borrow::Cow;
use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters};

/// A moment in civil time, for `strftime_now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970-01-01 00:00:00 in the zone that is shown.
    pub seconds: i64,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

impl Moment {
    /// The present, in UTC.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self { seconds: since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0)) }
    }

    /// Formats as C's `strftime` does in the C locale. Unknown directives stand as they are.
    pub(crate) fn format(self, format: &str) -> String {
        let days = self.seconds.div_euclid(86_400);
        let second = self.seconds.rem_euclid(86_400);
        let (year, month, day) = civil(days);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let month_name = MONTHS[(month - 1) as usize];
        let day_name = DAYS[days.rem_euclid(7) as usize];
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('Y') => out.push_str(&year.to_string()),
                Some('y') => out.push_str(&format!("{:02}", year.rem_euclid(100))),
                Some('m') => out.push_str(&format!("{month:02}")),
                Some('B') => out.push_str(month_name),
                Some('b' | 'h') => out.push_str(&month_name[..3]),
                Some('d') => out.push_str(&format!("{day:02}")),
                Some('e') => out.push_str(&format!("{day:2}")),
                Some('A') => out.push_str(day_name),
                Some('a') => out.push_str(&day_name[..3]),
                Some('H') => out.push_str(&format!("{hour:02}")),
                Some('I') => out.push_str(&format!("{:02}", (hour + 11) % 12 + 1)),
                Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
                Some('M') => out.push_str(&format!("{minute:02}")),
                Some('S') => out.push_str(&format!("{:02}", second % 60)),
                Some('F') => out.push_str(&format!("{year}-{month:02}-{day:02}")),
                Some('T') => out.push_str(&format!("{hour:02}:{minute:02}:{:02}", second % 60)),
                Some('j') => out.push_str(&format!("{:03}", days - days_before(year) + 1)),
                Some('%') => out.push('%'),
                Some(other) => out.extend(['%', other]),
                None => out.push('%'),
            }
        }
        out
    }
}

/// Days from 1970-01-01 to the first of January of `year`.
fn days_before(year: i64) -> i64 {
    let y = year - 1;
    365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) - 719_162
}

/// Year, month (from 1) and day (from 1) of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days.div_euclid(366);
    while days_before(year + 1) <= days {
        year += 1;
    }
    let leap = days_before(year + 1) - days_before(year) == 366;
    let mut left = days - days_before(year);
    for (i, length) in [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate() {
        if left < length {
            return (year, i as i64 + 1, left + 1);
        }
        left -= length;
    }
    (year, 12, 31)
}

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
    env.add_filter("select", |state: &mut State, value: Value, test: TestName<'_>, args: Arguments| {
        filters::select(state, value, test, args).map(Generator::value)
    });
    env.add_filter("reject", |state: &mut State, value: Value, test: TestName<'_>, args: Arguments| {
        filters::reject(state, value, test, args).map(Generator::value)
    });
    env.add_filter(
        "selectattr",
        |state: &mut State, value: Value, name: Cow<'_, str>, test: TestName<'_>, args: Arguments| {
            filters::selectattr(state, value, name, test, args).map(Generator::value)
        },
    );
    env.add_filter(
        "rejectattr",
        |state: &mut State, value: Value, name: Cow<'_, str>, test: TestName<'_>, args: Arguments| {
            filters::rejectattr(state, value, name, test, args).map(Generator::value)
        },
    );
}

type Arguments = Rest<ValueOrKwargs>;
type TestName<'a> = Option<Cow<'a, str>>;

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
        return Err(Error::new(ErrorKind::InvalidOperation, "None is not iterable"));
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
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// How `json.dumps` separates and orders.
struct Style {
    ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item: String,
    key: String,
}

fn to_json(value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        None => None,
        Some(v) if v.is_none() => None,
        Some(v) => Some(match v.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(usize::try_from(i64::try_from(v)?.clamp(0, 64)).unwrap_or(0)),
        }),
    };
    let separators = kwargs.get::<Option<Vec<String>>>("separators")?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators wants two strings")),
        None => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
    };
    let style = Style {
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
        item,
        key,
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    write_json(&mut out, value, &style, 0)?;
    Ok(Value::from(out))
}

/// Deeper values than this are refused, as Python's recursion limit would.
const MAX_DEPTH: usize = 500;

fn write_json(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH || out.len() > super::MAX_OUTPUT {
        return Err(Error::new(ErrorKind::InvalidOperation, "the value is too deep or too large for tojson"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default(), style.ascii),
        ValueKind::Seq | ValueKind::Iterable if value.downcast_object_ref::<Generator>().is_none() => {
            let items = value.try_iter()?;
            write_all(out, style, depth, ('[', ']'), items, |out, item| write_json(out, &item, style, depth + 1))?;
        }
        ValueKind::Map => {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                pairs.push((key_text(&key)?, value.get_item(&key)?));
            }
            if style.sort_keys {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            write_all(out, style, depth, ('{', '}'), pairs, |out, (key, item)| {
                write_string(out, &key, style.ascii);
                out.push_str(&style.key);
                write_json(out, &item, style, depth + 1)
            })?;
        }
        kind => return Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} is not JSON serializable"))),
    }
    Ok(())
}

fn write_all<T>(
    out: &mut String,
    style: &Style,
    depth: usize,
    brackets: (char, char),
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T) -> Result<(), Error>,
) -> Result<(), Error> {
    out.push(brackets.0);
    let mut empty = true;
    for item in items {
        if !empty {
            out.push_str(&style.item);
        }
        empty = false;
        new_line(out, style, depth + 1);
        write(out, item)?;
    }
    if !empty {
        new_line(out, style, depth);
    }
    out.push(brackets.1);
    Ok(())
}

fn new_line(out: &mut String, style: &Style, depth: usize) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        (0..depth).for_each(|_| out.push_str(indent));
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_string()),
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => Ok(number(key)),
        kind => Err(Error::new(ErrorKind::InvalidOperation, format!("keys must be strings, not {kind}"))),
    }
}

/// A number as Python's `repr` writes it.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(x) = f64::try_from(value.clone()) else { return value.to_string() };
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

fn write_string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ascii && c > '~') => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
