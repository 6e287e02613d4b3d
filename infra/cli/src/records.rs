//! Files that hold one record of a kind, or many: every one is read, and all problems are told at once.

use gennaker_domain::Problem;
use serde_json::Value;

use crate::failure::Failure;

/// What the records of a file are.
pub(crate) struct Kind {
    /// In codes, such as `monitor`.
    pub(crate) code: &'static str,
    /// For people, such as `deployment monitor`.
    pub(crate) name: &'static str,
    /// Field that names a record.
    pub(crate) key: &'static str,
    /// What one looks like.
    pub(crate) example: &'static str,
}

/// The entries of a list, each with its JSON path.
pub(crate) fn numbered<'a>(path: &str, list: &'a [Value]) -> Vec<(String, &'a Value)> {
    list.iter()
        .enumerate()
        .map(|(index, value)| (format!("{path}[{index}]"), value))
        .collect()
}

/// All records, if each could be read and no two have the same key.
///
/// `read` are their paths and what became of each; `key` is a record's name.
pub(crate) fn all<T>(
    kind: &Kind,
    read: impl IntoIterator<Item = (String, Result<T, Vec<Problem>>)>,
    key: impl Fn(&T) -> &str,
) -> Result<Vec<T>, Failure> {
    let Kind { code, name, .. } = kind;
    let mut problems = Vec::new();
    let mut records: Vec<T> = Vec::new();
    for (path, record) in read {
        match record {
            Ok(record) if records.iter().any(|known| key(known) == key(&record)) => {
                problems.push(Problem::error(
                    &format!("duplicate-{code}"),
                    format!("{path}.{}", kind.key),
                    format!("{name} `{}` is there twice", key(&record)),
                ));
            }
            Ok(record) => records.push(record),
            Err(mut found) => problems.append(&mut found),
        }
    }
    if problems.is_empty() && records.is_empty() {
        let none = format!("there is no {name} in it");
        problems.push(
            Problem::error(&format!("no-{code}"), "$", none)
                .with_hint(format!("such as {}", kind.example)),
        );
    }
    if problems.is_empty() {
        Ok(records)
    } else {
        Err(Failure::Input { problems })
    }
}
