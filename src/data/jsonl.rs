//! JSONL files: one value a line (LF or CRLF). Blank lines are skipped and a byte order mark is tolerated.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::Error;
use crate::formats::files::{open_regular, write_aside};

/// The lines of a file that hold something.
pub(super) struct Lines {
    pub(super) path: PathBuf,
    reader: BufReader<File>,
    /// The most bytes of a line.
    most: u64,
    /// The number of the line read last, from 1.
    pub(super) line: usize,
}

impl Lines {
    pub(super) fn open(path: &Path, most: u64) -> Result<Self, Error> {
        let file = open_regular(path, u64::MAX).map_err(Error::io(path))?;
        Ok(Self { path: path.into(), reader: BufReader::new(file), most, line: 0 })
    }

    /// That the line read last is wrong.
    pub(super) fn wrong(&self, problem: String) -> Error {
        Error::Row { path: self.path.clone(), line: self.line, problem }
    }

    pub(super) fn next(&mut self) -> Result<Option<String>, Error> {
        loop {
            let mut bytes = Vec::new();
            let read = (&mut self.reader).take(self.most + 1).read_until(b'\n', &mut bytes);
            read.map_err(Error::io(&self.path))?;
            if bytes.is_empty() {
                return Ok(None);
            }
            self.line += 1;
            if bytes.len() as u64 > self.most {
                return Err(self.wrong(format!("the line has more than {} bytes; split the row", self.most)));
            }
            let text = String::from_utf8(bytes).map_err(|e| {
                self.wrong(format!("is not UTF-8 text at byte {}; convert the file", e.utf8_error().valid_up_to()))
            })?;
            let text = if self.line == 1 { text.trim_start_matches('\u{FEFF}') } else { &text };
            if !text.trim().is_empty() {
                return Ok(Some(text.trim().to_string()));
            }
        }
    }
}

/// Writes rows to a file that is whole whenever it is there.
pub(super) fn write<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), Error> {
    let write = |file: &mut dyn Write| {
        rows.iter().try_for_each(|row| {
            serde_json::to_writer(&mut *file, row)?;
            file.write_all(b"\n")
        })
    };
    write_aside(path, |file| write(file)).map_err(Error::io(path))
}

/// serde_json's message and column; its line is always the first.
pub(super) fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    format!("{} at column {}", text.split(" at line ").next().unwrap_or(&text), error.column())
}
