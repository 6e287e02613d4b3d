//! How a command ends that did not end well, and the exit status that says so.

use gennaker_cloud::CloudError;
use gennaker_domain::Problem;

/// Why a command ended without what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It ran and the answer is no; the data is printed already. Exit status 1.
    #[error("{0}")]
    No(String),
    /// What a person gave us is wrong. Exit status 2.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Input {
        /// At least one of them is an error.
        problems: Vec<Problem>,
    },
    /// The machine, the network, the credentials, the installation. Exit status 3.
    #[error("{message}{}", hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default())]
    Environment {
        /// What failed, on what.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Ctrl-C. Exit status 130.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// One problem in an input.
    pub(crate) fn input(problem: Problem) -> Self {
        Self::Input {
            problems: vec![problem],
        }
    }

    /// Something is wrong with the environment.
    pub(crate) fn environment(message: impl Into<String>) -> Self {
        Self::Environment {
            message: message.into(),
            hint: None,
        }
    }

    /// Something is wrong with the environment, and this is what to do.
    pub(crate) fn environment_with_hint(
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Environment {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::No(_) => 1,
            Self::Input { .. } => 2,
            Self::Environment { .. } => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<CloudError> for Failure {
    fn from(error: CloudError) -> Self {
        let hint = if error.is_code("ResourceNotFoundException") {
            Some(
                "is Gennaker installed in this account and region under this --prefix? For the local cloud: eval \"$(gennaker local env)\""
                    .to_owned(),
            )
        } else if matches!(error, CloudError::NoAnswer { .. }) {
            Some(
                "are there credentials and a region? For the local cloud: gennaker local up, then eval \"$(gennaker local env)\""
                    .to_owned(),
            )
        } else {
            None
        };
        Self::Environment {
            message: error.to_string(),
            hint,
        }
    }
}
