use thiserror::Error;

/// Why a metric could not be asked for, or its answer not be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetricsError {
    /// The configuration's query cannot be made into a request.
    #[error("{field}: {reason}")]
    Query {
        /// Field of the query, or of the metrics account.
        field: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The store answered something else than series.
    #[error("{source_name} answered {reason}")]
    Answer {
        /// Which kind of store.
        source_name: &'static str,
        /// What it was, and how it begins.
        reason: String,
    },
    /// The two sides do not fit together.
    #[error("{0}")]
    Mix(String),
}

impl MetricsError {
    pub(crate) fn query(field: &str, reason: impl Into<String>) -> Self {
        Self::Query {
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn answer(source_name: &'static str, reason: impl Into<String>) -> Self {
        Self::Answer {
            source_name,
            reason: reason.into(),
        }
    }
}
