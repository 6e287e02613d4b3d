//! What can go wrong with a call to AWS.

/// A failed call, with what an operator needs to find it again.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum CloudError {
    /// A conditional write found another state. The write that failed, by its position in the transaction.
    #[error("the condition of write {position} did not hold")]
    ConditionFailed {
        /// 0 for a single write.
        position: usize,
    },
    /// Another transaction was at work on the same item; try again with jitter.
    #[error("another transaction is at work on the same item")]
    Conflict,
    /// AWS asked to slow down.
    #[error("`{operation}` was throttled: {message}")]
    Throttled {
        /// Service and operation, such as `autoscaling:DescribeAutoScalingGroups`.
        operation: String,
        /// What AWS said.
        message: String,
    },
    /// AWS refused the call.
    #[error("`{operation}` on `{resource}` was refused: {code}: {message} (request {request_id})")]
    Refused {
        /// Service and operation.
        operation: String,
        /// What it was about.
        resource: String,
        /// AWS's error code.
        code: String,
        /// AWS's message.
        message: String,
        /// AWS's request id, for support.
        request_id: String,
    },
    /// No answer: whether the call took effect is not known.
    #[error("`{operation}` on `{resource}` got no answer: {message}")]
    NoAnswer {
        /// Service and operation.
        operation: String,
        /// What it was about.
        resource: String,
        /// What the transport said.
        message: String,
    },
    /// A call that only looks tried to change something; see [`crate::look`].
    #[error("nothing is changed by a call that only looks")]
    OnlyLooking,
    /// What is stored cannot be read by this release.
    #[error("`{what}` cannot be read: {message}")]
    Unreadable {
        /// The item.
        what: String,
        /// Why.
        message: String,
    },
}

impl CloudError {
    /// Whether AWS answered with this error code.
    #[must_use]
    pub fn is_code(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    /// Whether the same call may work in a moment: throttled, in conflict, or without an answer.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Conflict | Self::Throttled { .. } | Self::NoAnswer { .. }
        )
    }
}

/// What AWS answered; none where it refused with one of these codes, because what it was asked about is not there.
pub(crate) fn unless_gone<T>(
    answer: Result<T, CloudError>,
    codes: &[&str],
) -> Result<Option<T>, CloudError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if codes.iter().any(|code| error.is_code(code)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// AWS error codes that mean "slow down", of all services we call.
const THROTTLES: [&str; 8] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestThrottled",
    "SlowDown",
];

/// Turns an SDK error into ours, with operation, resource and request id kept.
///
/// `operation` is `service:Operation` as IAM writes it; `resource` names what the call was about.
pub fn from_sdk<E, R>(
    operation: &str,
    resource: &str,
    error: &aws_smithy_runtime_api::client::result::SdkError<E, R>,
) -> CloudError
where
    E: aws_smithy_types::error::metadata::ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    use aws_smithy_runtime_api::client::result::SdkError;
    match error {
        SdkError::ServiceError(service) => {
            let metadata = service.err().meta();
            let code = metadata.code().unwrap_or("Unknown");
            let message = metadata.message().unwrap_or("").to_owned();
            if THROTTLES.contains(&code) {
                CloudError::Throttled {
                    operation: operation.to_owned(),
                    message,
                }
            } else {
                CloudError::Refused {
                    operation: operation.to_owned(),
                    resource: resource.to_owned(),
                    code: code.to_owned(),
                    message,
                    request_id: metadata
                        .extra("aws_request_id")
                        .unwrap_or("unknown")
                        .to_owned(),
                }
            }
        }
        other => {
            let mut message = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                message.push_str(": ");
                message.push_str(&cause.to_string());
                source = cause.source();
            }
            CloudError::NoAnswer {
                operation: operation.to_owned(),
                resource: resource.to_owned(),
                message,
            }
        }
    }
}
