//! Execution ids and runs.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Id of an execution: a ULID, derived from what started it, so that a duplicate event is the same execution.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExecutionId(String);

/// One run of an execution: `<execution id>-<n>`; the first n is 1, a restart is a new run. It is also the name of
/// the Step Functions execution.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Run {
    /// The execution.
    pub execution: ExecutionId,
    /// Which run of it, from 1.
    pub number: u32,
}

/// Why a text is not an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not 26 characters of Crockford's base 32.
    #[error("`{0}` is not an execution id (a ULID of 26 characters)")]
    Execution(String),
    /// Not an execution id and a number.
    #[error("`{0}` is not a run (`<execution id>-<n>`)")]
    Run(String),
}

impl ExecutionId {
    /// Derives the id from the event's time and from everything that makes this start unique.
    ///
    /// The first 48 bits are `event_millis`, so ids sort by time; the other 80 are of the SHA-256 of the parts, each
    /// preceded by its length so that no two lists of parts look the same.
    #[must_use]
    pub fn derive(event_millis: i64, parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let random = digest
            .iter()
            .take(10)
            .fold(0u128, |value, byte| (value << 8) | u128::from(*byte));
        let time = u64::try_from(event_millis.max(0)).unwrap_or(0) & 0xFFFF_FFFF_FFFF;
        Self(ulid::Ulid::from_parts(time, random).to_string())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Run `number` of this execution.
    #[must_use]
    pub fn run(&self, number: u32) -> Run {
        Run {
            execution: self.clone(),
            number,
        }
    }
}

impl TryFrom<String> for ExecutionId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        let valid = text.len() == 26
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b.is_ascii_uppercase() && !b"ILOU".contains(&b)));
        if valid {
            Ok(Self(text))
        } else {
            Err(IdError::Execution(text))
        }
    }
}

impl From<ExecutionId> for String {
    fn from(id: ExecutionId) -> Self {
        id.0
    }
}

impl std::fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Run {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        let parsed = text.split_once('-').and_then(|(id, number)| {
            let execution = ExecutionId::try_from(id.to_owned()).ok()?;
            let number = number.parse::<u32>().ok().filter(|n| *n > 0)?;
            Some(Self { execution, number })
        });
        parsed.ok_or(IdError::Run(text))
    }
}

impl From<Run> for String {
    fn from(run: Run) -> Self {
        run.to_string()
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.execution, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_event_gives_the_same_execution_and_another_part_another() {
        let one = ExecutionId::derive(1_700_000_000_000, &["event-1", "pipeline-1"]);
        assert_eq!(
            one,
            ExecutionId::derive(1_700_000_000_000, &["event-1", "pipeline-1"])
        );
        assert_ne!(
            one,
            ExecutionId::derive(1_700_000_000_000, &["event-1p", "ipeline-1"])
        );
        assert_eq!(one.as_str().len(), 26);
        assert!(one < ExecutionId::derive(1_700_000_000_001, &["event-1", "pipeline-1"]));
    }

    #[test]
    fn a_run_reads_back_what_it_prints() {
        let run = ExecutionId::derive(1, &["x"]).run(12);
        assert_eq!(Run::try_from(run.to_string()), Ok(run));
        assert!(Run::try_from("nonsense-1".to_owned()).is_err());
        assert!(Run::try_from(format!("{}-0", ExecutionId::derive(1, &["x"]))).is_err());
    }
}
