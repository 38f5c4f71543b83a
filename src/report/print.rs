//! Results on stdout and the last word on stderr.

use std::borrow::Cow;
use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::Error;

const TRAINED: Style = AnsiColor::Green.on_default().bold();
const UNTRAINED: Style = Style::new().dimmed();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Writes text to stdout.
///
/// # Errors
/// [`Error::Stdout`], unless the reader has only gone away.
pub fn text(text: &str) -> Result<(), Error> {
    let mut stdout = anstream::stdout();
    forgive(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Writes a value to stdout as one line of JSON, where a number that is not finite becomes `null`.
///
/// # Errors
/// As [`text`].
pub fn json(value: &impl Serialize) -> Result<(), Error> {
    let mut line = serde_json::to_string(value).map_err(|error| Error::Stdout(error.into()))?;
    line.push('\n');
    forgive(io::stdout().write_all(line.as_bytes()))
}

/// Writes an error and what caused it to stderr.
pub fn error(error: &dyn std::error::Error) {
    // Nothing is left to tell a failure to.
    let _ = anstream::stderr().write_all(render_error(error).as_bytes());
}

/// Writes a preview of tokens to stdout, as [`render_preview`] makes it.
///
/// # Errors
/// As [`text`].
pub fn preview(pieces: &[(String, bool)]) -> Result<(), Error> {
    let coloured = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    text(&format!("{}\n", render_preview(pieces, coloured)))
}

/// The text of tokens, and which of them are trained on: green against dim, or between `⟦` and `⟧` without colours.
pub fn render_preview(pieces: &[(String, bool)], coloured: bool) -> String {
    let mut text = String::new();
    for run in pieces.chunk_by(|a, b| a.1 == b.1) {
        let trained = run[0].1;
        let piece: String = run.iter().map(|(piece, _)| piece.as_str()).collect();
        let piece = printable(&piece);
        text += &match (coloured, trained) {
            (true, true) => format!("{TRAINED}{piece}{TRAINED:#}"),
            (true, false) => format!("{UNTRAINED}{piece}{UNTRAINED:#}"),
            (false, true) => format!("⟦{piece}⟧"),
            (false, false) => piece.into_owned(),
        };
    }
    text
}

/// Text from a model or a data file, made safe for a terminal: control characters other than line ends and tabs, which
/// could move the cursor or worse, are shown by their code.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn forgive(result: io::Result<()>) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Stdout(error)),
        _ => Ok(()),
    }
}

fn render_error(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut text = format!("{ERROR}error:{ERROR:#} {}\n", printable(&said));
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Many errors already quote their cause.
        if !said.contains(&message) {
            text += &format!("  because: {}\n", printable(&message));
            said = message;
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_mark_what_is_trained() {
        let pieces = [("<user>", false), ("hi\n", false), ("yo", true), ("\u{1b}[2J", true), ("end", false)];
        let pieces = pieces.map(|(piece, trained)| (piece.to_owned(), trained));
        assert_eq!(render_preview(&pieces, false), "<user>hi\n⟦yo\\u{1b}[2J⟧end");
        let coloured = render_preview(&pieces, true);
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), "<user>hi\nyo\\u{1b}[2Jend");
        assert!(coloured.contains(&format!("{TRAINED}yo")));
        assert_eq!(render_preview(&[], true), "");
    }

    #[test]
    fn errors_are_told_with_their_causes_but_not_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Chain(&'static str, #[source] Option<Box<Chain>>);
        let inner = Chain("disk full", None);
        let middle = Chain("a.txt: disk full", Some(Box::new(inner)));
        let told = render_error(&Chain("cannot save", Some(Box::new(middle))));
        let told = anstream::adapter::strip_str(&told).to_string();
        assert_eq!(told, "error: cannot save\n  because: a.txt: disk full\n");
    }

    #[test]
    fn a_closed_pipe_is_forgiven() {
        assert!(forgive(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(forgive(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
