//! Why an expression could not be evaluated.

/// A failed evaluation of one expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    /// In the words of the original: innermost cause, then what was tried.
    pub(crate) message: String,
    /// What a person may want to know besides: near names, what was found.
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            hint: None,
        }
    }

    /// A bound of this implementation that the original has not.
    pub(crate) fn limit(message: impl Into<String>) -> Fault {
        Fault::new(message)
    }

    pub(crate) fn with_hint(mut self, hint: Option<String>) -> Fault {
        self.hint = self.hint.or(hint);
        self
    }
}

/// The shorthand that everything in the language returns.
pub(crate) type Eval<T> = Result<T, Fault>;
