//! Why there is no answer.

/// A request without an answer. No variant holds more of the address than its host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The text is no address, or a header is none.
    #[error("the request cannot be sent: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// The installation does not allow the address.
    #[error("`{host}` is not an address that this installation calls: {reason}")]
    Refused {
        /// The host, as written.
        host: String,
        /// Which rule.
        reason: String,
    },
    /// The name has no address.
    #[error("`{host}` cannot be resolved: {reason}")]
    UnknownHost {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// Nobody answers there, or not with a certificate that is trusted.
    #[error("no connection to `{host}`: {reason}")]
    NoConnection {
        /// The host.
        host: String,
        /// What the system, or TLS, said.
        reason: String,
    },
    /// The time ran out.
    #[error("`{host}` did not answer within {seconds} s")]
    TimedOut {
        /// The host.
        host: String,
        /// The limit.
        seconds: u64,
        /// Whether the request may have arrived.
        sent: bool,
    },
    /// The connection ended in the middle, or what came is not HTTP.
    #[error("the exchange with `{host}` broke: {reason}")]
    Broken {
        /// The host.
        host: String,
        /// What happened.
        reason: String,
        /// Whether the request may have arrived.
        sent: bool,
    },
    /// The answer is longer than allowed.
    #[error("the answer of `{host}` is longer than {limit} bytes")]
    TooLarge {
        /// The host.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// Redirected too often, or to where the request must not go.
    #[error("a redirect of `{host}` is not followed: {reason}")]
    Redirect {
        /// The host that redirects.
        host: String,
        /// Why not.
        reason: String,
    },
}

impl HttpError {
    /// Whether the server may have seen the request: if not, sending it again is harmless.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Invalid { .. }
            | Self::Refused { .. }
            | Self::UnknownHost { .. }
            | Self::NoConnection { .. } => false,
            Self::TimedOut { sent, .. } | Self::Broken { sent, .. } => *sent,
            Self::TooLarge { .. } | Self::Redirect { .. } => true,
        }
    }

    /// Whether the same request may get an answer in a moment.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::UnknownHost { .. }
                | Self::NoConnection { .. }
                | Self::TimedOut { .. }
                | Self::Broken { .. }
        )
    }
}
