//! Reading what a person gave us: files, `-` for standard input, JSON and JSON lines.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use gennaker_domain::Problem;
use serde_json::Value;

use crate::failure::Failure;

/// Larger than any pipeline that Step Functions could hold, small enough for any machine.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What some editors put before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

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

/// What `read` makes of a file of JSON, which it reads as it comes: the text never stands in memory.
pub(crate) fn streamed<T>(
    path: &Path,
    most_bytes: u64,
    read: impl FnOnce(&mut dyn Read) -> serde_json::Result<T>,
) -> Result<T, Failure> {
    let mut reader = BufReader::new(open(path)?.take(most_bytes + 1));
    let begins = reader
        .fill_buf()
        .map_err(|error| unreadable(path, &error))?;
    if begins.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    let value = read(&mut reader);
    if reader.get_ref().limit() == 0 {
        let told = format!("it is larger than {most_bytes} bytes");
        return Err(unreadable(path, &told));
    }
    value.map_err(|error| {
        if error.is_io() {
            unreadable(path, &error)
        } else {
            not_json(&path.display().to_string(), &error)
        }
    })
}

/// The file as JSON.
pub(crate) fn json(path: &Path) -> Result<Value, Failure> {
    parse(&text(path)?, &path.display().to_string())
}

/// A text as JSON; `what` names it in the message.
pub(crate) fn parse(text: &str, what: &str) -> Result<Value, Failure> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| not_json(what, &error))
}

fn not_json(what: &str, error: &serde_json::Error) -> Failure {
    Failure::input(
        Problem::error(
            "invalid-json",
            "$",
            format!("`{what}` is not JSON: {error}"),
        )
        .with_hint("the line and column are where reading stopped; look just before them"),
    )
}

/// Calls `each` with every line as JSON, as it arrives; empty lines are passed over.
pub(crate) fn json_lines(
    path: &Path,
    mut each: impl FnMut(Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    lines(path, |number, line| {
        let told = |what: String| {
            let place = format!("line {number} of `{}`", path.display());
            Failure::input(Problem::error(
                "invalid-json",
                "$",
                format!("{place} {what}"),
            ))
        };
        let line = line.map_err(|why| told(format!("cannot be read: {why}")))?;
        let value =
            serde_json::from_str(line).map_err(|error| told(format!("is not JSON: {error}")))?;
        each(value)
    })
}

/// Calls `each` with the number of every line and its text as it arrives, or why it is no text; empty lines are passed over.
pub(crate) fn lines(
    path: &Path,
    mut each: impl FnMut(u64, Result<&str, &str>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader = BufReader::new(open(path)?);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = (&mut reader)
            .take(MAX_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(|error| unreadable(path, &error))?;
        if read == 0 {
            break;
        }
        if read as u64 == MAX_BYTES && line.last() != Some(&b'\n') {
            skip_line(&mut reader).map_err(|error| unreadable(path, &error))?;
            each(number, Err("the line is larger than 64 MiB"))?;
            continue;
        }
        match std::str::from_utf8(&line) {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => each(number, Ok(text.trim()))?,
            Err(_) => each(number, Err("the line is not UTF-8"))?,
        }
    }
    Ok(())
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

    fn bytes(text: &mut dyn Read) -> serde_json::Result<Vec<u8>> {
        serde_json::from_reader(text)
    }

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        assert_eq!(parse("\u{feff}{}", "x").unwrap(), serde_json::json!({}));
        let file = written("\u{feff}[1]");
        assert_eq!(streamed(file.path(), 6, bytes).unwrap(), [1]);
    }

    #[test]
    fn a_streamed_file_is_as_large_as_it_may_be_and_whole() {
        let told = |text: &str, most: u64| match streamed(written(text).path(), most, bytes) {
            Err(Failure::Input { problems }) => problems[0].message.clone(),
            other => panic!("{other:?}"),
        };
        assert!(told("[1,2,3]", 6).contains("larger than 6 bytes"));
        assert!(told("[1,2,3", 7).contains("is not JSON: EOF"));
        assert!(told("[1,2,3]x", 8).contains("is not JSON: trailing"));
    }

    #[test]
    fn a_line_that_is_no_json_is_told_with_its_number() {
        let file = written("1\n\n{\n");
        let mut seen = Vec::new();
        let end = json_lines(file.path(), |value| {
            seen.push(value);
            Ok(())
        });
        let Err(Failure::Input { problems }) = end else {
            panic!("a broken line was read");
        };
        assert_eq!(seen, [serde_json::json!(1)]);
        assert!(problems[0].message.contains("line 3 of"), "{problems:?}");
    }
}
