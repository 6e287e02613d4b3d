//! Printing: data to standard output, talk to standard error, colours where they are wanted.

use std::io::{BufWriter, IsTerminal, Write};

use gennaker_domain::{Problem, Status};
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::Color;
use crate::failure::Failure;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Data as JSON.
    pub json: bool,
    /// Colours on standard error.
    pub color: bool,
    /// Somebody looks at standard error: progress is shown.
    pub terminal: bool,
    /// Somebody can be asked.
    pub interactive: bool,
}

impl Output {
    /// As the arguments and the surroundings say.
    pub(crate) fn new(json: bool, color: Color, no_color: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            json,
            color: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => terminal && !no_color,
            },
            terminal,
            interactive: terminal && std::io::stdin().is_terminal(),
        }
    }

    /// One line of data.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        // Whoever reads us may have seen enough (`| head`): that is no failure of ours, but there is nothing left to do.
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(|error| Failure::environment(format!("standard output: {error}")))
    }

    /// Data as JSON, indented. The text may be longer than memory: it is written as it comes.
    pub(crate) fn data(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, value)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(out))
            .and_then(|()| out.flush())
            .map_err(|error| Failure::environment(format!("standard output: {error}")))
    }

    /// Data as JSON on one line.
    pub(crate) fn compact(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::environment(error.to_string()))?;
        self.line(&text)
    }

    /// Rows in columns, for a person.
    pub(crate) fn table(&self, rows: &[Vec<String>]) -> Result<(), Failure> {
        table(rows).iter().try_for_each(|line| self.line(line))
    }

    /// Names that are stored: a list, or one a line.
    pub(crate) fn names(&self, names: &[String]) -> Result<(), Failure> {
        if self.json {
            return self.data(&names);
        }
        names.iter().try_for_each(|name| self.line(&plain(name)))
    }

    /// Something said to a person.
    pub(crate) fn say(&self, text: &str) {
        // Nobody is there to hear that it failed.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Problems, for a person.
    pub(crate) fn problems(&self, problems: &[Problem]) {
        for problem in problems {
            let text = problem.to_string();
            let (kind, rest) = text.split_once('[').unwrap_or(("", &text));
            let color = if problem.is_error() { RED } else { YELLOW };
            self.say(&format!("{}[{rest}", self.paint(kind, color)));
        }
    }

    /// The last word about a command that failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        match failure {
            Failure::Input { problems } => {
                if self.json {
                    // If standard output is gone, the exit status still tells.
                    let _ = self.data(&json!({ "problems": problems }));
                }
                self.problems(problems);
            }
            Failure::No(reason) if reason.is_empty() => {}
            Failure::No(reason) => self.say(reason),
            Failure::Interrupted => self.say("interrupted"),
            Failure::Environment { .. } => {
                self.say(&format!("{}: {failure}", self.paint("error", RED)))
            }
        }
    }

    /// The text in a colour, if colours are wanted.
    pub(crate) fn paint(&self, text: &str, color: &str) -> String {
        if self.color {
            format!("\u{1b}[{color}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// A status in its colour.
    pub(crate) fn status(&self, status: Status) -> String {
        self.paint(status.as_str(), color_of(status))
    }
}

/// Colour of a status.
pub(crate) fn color_of(status: Status) -> &'static str {
    match status {
        Status::Succeeded => GREEN,
        Status::Terminal | Status::Canceled => RED,
        Status::FailedContinue | Status::Stopped => YELLOW,
        Status::Running | Status::Paused => CYAN,
        _ => DIM,
    }
}

pub(crate) const RED: &str = "31";
pub(crate) const GREEN: &str = "32";
pub(crate) const YELLOW: &str = "33";
pub(crate) const CYAN: &str = "36";
pub(crate) const DIM: &str = "2";
pub(crate) const BOLD: &str = "1";

/// Text of a person's pipeline without what could move the cursor or change colours.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// `1.2 s`, `3 min 05 s`, `2 h 07 min`.
pub(crate) fn elapsed(millis: i64) -> String {
    let millis = millis.max(0);
    let seconds = millis / 1000;
    if seconds < 60 {
        format!("{}.{} s", seconds, millis % 1000 / 100)
    } else if seconds < 3600 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60)
    }
}

/// Rows in aligned columns, separated by two spaces.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

/// A JSON string, or the JSON of anything else.
pub(crate) fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_is_short_and_exact_enough() {
        assert_eq!(elapsed(1_250), "1.2 s");
        assert_eq!(elapsed(185_000), "3 min 05 s");
        assert_eq!(elapsed(7_620_000), "2 h 07 min");
        assert_eq!(elapsed(-5), "0.0 s");
    }

    #[test]
    fn control_characters_of_a_pipeline_never_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\nc"), "a [31mb c");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["a".to_owned(), "b".to_owned()],
            vec!["long".to_owned(), "c".to_owned()],
        ];
        assert_eq!(table(&rows), ["a     b", "long  c"]);
    }
}
