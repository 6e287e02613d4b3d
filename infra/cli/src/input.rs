//! Reading what a person gave us: files, `-` for standard input, JSON and JSON lines.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use gennaker_domain::Problem;
use serde_json::Value;

use crate::failure::Failure;

/// Larger than any pipeline that Step Functions could hold, small enough for any machine.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

fn unreadable(path: &Path, error: &dyn Display) -> Failure {
    Failure::input(
        Problem::error(
            "unreadable-file",
            "$",
            format!("`{}` cannot be read: {error}", path.display()),
        )
        .with_hint("give the path of a readable file, or - for standard input"),
    )
}

fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    if path.is_dir() {
        return Err(unreadable(path, &"it is a directory"));
    }
    match std::fs::File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The whole text.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    open(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(unreadable(path, &"it is larger than 64 MiB"));
    }
    Ok(text)
}

/// The file as JSON.
pub(crate) fn json(path: &Path) -> Result<Value, Failure> {
    parse(&text(path)?, &path.display().to_string())
}

/// A text as JSON; `what` names it in the message.
pub(crate) fn parse(text: &str, what: &str) -> Result<Value, Failure> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| {
        Failure::input(
            Problem::error(
                "invalid-json",
                "$",
                format!("`{what}` is not JSON: {error}"),
            )
            .with_hint("the line and column are where reading stopped; look just before them"),
        )
    })
}

/// Calls `each` with every line as JSON, as it arrives; empty lines are passed over.
pub(crate) fn json_lines(
    path: &Path,
    mut each: impl FnMut(Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for (number, line) in BufReader::new(open(path)?).lines().enumerate() {
        let line = line.map_err(|error| unreadable(path, &error))?;
        if line.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str(&line).map_err(|error| {
            Failure::input(Problem::error(
                "invalid-json",
                "$",
                format!(
                    "line {} of `{}` is not JSON: {error}",
                    number + 1,
                    path.display()
                ),
            ))
        })?;
        each(value)?;
    }
    Ok(())
}

/// Calls `each` with every line as it arrives, or with why it is no line of text; empty lines are passed over.
pub(crate) fn lines(
    path: &Path,
    mut each: impl FnMut(Result<&str, &str>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader = BufReader::new(open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader)
            .take(MAX_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(|error| unreadable(path, &error))?;
        if read == 0 {
            return Ok(());
        }
        if read as u64 == MAX_BYTES && line.last() != Some(&b'\n') {
            skip_line(&mut reader).map_err(|error| unreadable(path, &error))?;
            each(Err("the line is larger than 64 MiB"))?;
            continue;
        }
        match std::str::from_utf8(&line) {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => each(Ok(text.trim()))?,
            Err(_) => each(Err("the line is not UTF-8"))?,
        }
    }
}

/// Passes over the rest of a line without keeping it.
fn skip_line(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_and_broken_json_are_problems_with_the_place() {
        let Err(Failure::Input { problems }) = json(Path::new("/nowhere/pipeline.json")) else {
            panic!("a missing file was read");
        };
        assert!(problems[0].message.contains("/nowhere/pipeline.json"));
        let Err(Failure::Input { problems }) = parse("{\n \"a\": ]", "x.json") else {
            panic!("broken JSON was read");
        };
        assert!(
            problems[0].message.contains("line 2 column 7"),
            "{}",
            problems[0].message
        );
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        assert_eq!(parse("\u{feff}{}", "x").unwrap(), serde_json::json!({}));
    }
}
