//! From a file to rows.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::row;
use crate::eval::error::Error;
use crate::eval::problem::{Problem, Task};

/// The most that is read of a task file. Bytes.
const LIMIT: u64 = 256 << 20;

type Row = Map<String, Value>;

/// Every row of the file as a problem.
pub(super) fn problems(task: Task, path: &Path) -> Result<Vec<Problem>, Error> {
    let text = text(path)?;
    let rows = if text.trim_start().starts_with('[') { array(path, &text)? } else { lines(path, &text)? };
    if rows.is_empty() {
        return Err(file(path, "holds no rows".into()));
    }
    let mut problems = Vec::with_capacity(rows.len());
    for (place, row) in &rows {
        let wrong = |problem| Error::Row { path: path.to_path_buf(), place: place.clone(), problem };
        problems.push(row::problem(task, row).map_err(wrong)?);
    }
    identify(&mut problems);
    Ok(problems)
}

fn file(path: &Path, problem: String) -> Error {
    Error::File { path: path.to_path_buf(), problem }
}

fn text(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LIMIT {
        return Err(file(path, format!("has more than {LIMIT} bytes, the most that is read of a task file")));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(file(path, "is packed with gzip; unpack it with `gunzip` first".into()));
    }
    let text = String::from_utf8(bytes).map_err(|_| file(path, "is not UTF-8 text".into()))?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

fn array(path: &Path, text: &str) -> Result<Vec<(String, Row)>, Error> {
    let rows: Vec<Value> = serde_json::from_str(text).map_err(|e| file(path, format!("is not a JSON array: {e}")))?;
    let place = |at: usize| format!("row {}", at + 1);
    rows.into_iter().enumerate().map(|(at, row)| object(path, place(at), row)).collect()
}

fn lines(path: &Path, text: &str) -> Result<Vec<(String, Row)>, Error> {
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("line {}", at + 1);
        let wrong =
            |e| Error::Row { path: path.to_path_buf(), place: place.clone(), problem: format!("is not JSON: {e}") };
        let row = serde_json::from_str(line).map_err(wrong)?;
        rows.push(object(path, place, row)?);
    }
    Ok(rows)
}

fn object(path: &Path, place: String, row: Value) -> Result<(String, Row), Error> {
    match row {
        Value::Object(row) => Ok((place, row)),
        _ => Err(Error::Row { path: path.to_path_buf(), place, problem: "is not a JSON object".into() }),
    }
}

/// Gives rows their number where the ids of the file are missing or not unique.
fn identify(problems: &mut [Problem]) {
    let ids: HashSet<&str> = problems.iter().map(|p| p.id.as_str()).filter(|id| !id.is_empty()).collect();
    if ids.len() < problems.len() {
        for (at, problem) in problems.iter_mut().enumerate() {
            problem.id = (at + 1).to_string();
        }
    }
}
