//! The error names that stage functions answer with and that compiled definitions retry on.
//!
//! They are a contract between the Lambda error type and the compiler's `ErrorEquals`: both take them from here, so
//! they cannot drift.

/// The stage waits; Step Functions calls again in 10 seconds.
pub const WAITING_10S: &str = "Waiting10s";
/// The stage waits; Step Functions calls again in one minute.
pub const WAITING_1M: &str = "Waiting1m";
/// The stage waits; Step Functions calls again in ten minutes.
pub const WAITING_10M: &str = "Waiting10m";
/// An AWS API throttled us; called again after five seconds.
pub const THROTTLED: &str = "Throttled";
/// The stage failed and its policy halts the pipeline. Never retried.
pub const STAGE_FAILED: &str = "StageFailed";
/// The stage's configuration cannot work whatever the world does. Never retried.
pub const INVALID_CONFIGURATION: &str = "InvalidConfiguration";
/// Anything unforeseen, a caught panic included; retried by `States.ALL`.
pub const UNEXPECTED: &str = "Unexpected";

/// Interval after which Step Functions calls a waiting stage again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Poll {
    /// Ten seconds: the first ten minutes of a wait.
    TenSeconds,
    /// One minute: up to two hours.
    OneMinute,
    /// Ten minutes: from then on.
    TenMinutes,
}

impl Poll {
    /// The poll that suits a wait which has lasted `waited_millis` milliseconds already.
    ///
    /// Ten seconds up to ten minutes, one minute up to two hours, then ten minutes: a wait of three days is
    /// 60 + 110 + 420 polls of three history events each.
    #[must_use]
    pub fn after(waited_millis: i64) -> Self {
        const MINUTE: i64 = 60_000;
        if waited_millis < 10 * MINUTE {
            Self::TenSeconds
        } else if waited_millis < 120 * MINUTE {
            Self::OneMinute
        } else {
            Self::TenMinutes
        }
    }

    /// The largest poll that is not longer than `remaining_millis`, ten seconds at least.
    #[must_use]
    pub fn within(remaining_millis: i64) -> Self {
        if remaining_millis >= 600_000 {
            Self::TenMinutes
        } else if remaining_millis >= 60_000 {
            Self::OneMinute
        } else {
            Self::TenSeconds
        }
    }

    /// The error name that Step Functions retries on.
    #[must_use]
    pub fn error_name(self) -> &'static str {
        match self {
            Self::TenSeconds => WAITING_10S,
            Self::OneMinute => WAITING_1M,
            Self::TenMinutes => WAITING_10M,
        }
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        match self {
            Self::TenSeconds => 10,
            Self::OneMinute => 60,
            Self::TenMinutes => 600,
        }
    }

    /// How often a stage is called again while it waits for `seconds`, by the default polls.
    ///
    /// Every ten seconds up to ten minutes (60), every minute up to two hours (110), every ten minutes from then on: a
    /// wait of three days is 60 + 110 + 420 = 590 polls.
    #[must_use]
    pub fn count(seconds: u64) -> u64 {
        let every = |poll: Self| u64::from(poll.seconds());
        let short = seconds.min(600).div_ceil(every(Self::TenSeconds));
        let middle = (seconds.clamp(600, 7200) - 600).div_ceil(every(Self::OneMinute));
        let long = (seconds.max(7200) - 7200).div_ceil(every(Self::TenMinutes));
        short + middle + long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_days_are_590_polls() {
        assert_eq!(Poll::count(0), 0);
        assert_eq!(Poll::count(25), 3);
        assert_eq!(Poll::count(600), 60);
        assert_eq!(Poll::count(7200), 170);
        assert_eq!(Poll::count(3 * 86_400), 590);
    }
}
