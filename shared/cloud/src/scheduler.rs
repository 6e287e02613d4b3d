//! The port to EventBridge Scheduler: the schedules of an installation's cron triggers.
//!
//! The adapter is `AwsScheduler` of `gennaker-http`: five signed calls weigh less than the SDK's crate for them.

use async_trait::async_trait;
use serde_json::Value;

use crate::CloudError;

/// What a schedule's input holds in place of the time that it was due at.
pub const SCHEDULED_TIME: &str = "<aws.scheduler.scheduled-time>";

/// One schedule of the installation's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Name in the group, at most 64 characters of `[0-9a-zA-Z_.-]`.
    pub name: String,
    /// `cron(…)` or `rate(…)`.
    pub expression: String,
    /// IANA name of the time zone that the expression is read in.
    pub time_zone: String,
    /// What the target is called with; [`SCHEDULED_TIME`] in it is replaced.
    pub input: Value,
}

/// One schedule as the group lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// When it was made, UTC milliseconds.
    pub made_at: i64,
}

/// A page of the group's schedules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The schedules.
    pub schedules: Vec<Listed>,
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
}

/// The schedules of the installation's own group; all of them call one function.
///
/// `now` (UTC milliseconds) is for the signature of the call.
#[async_trait]
pub trait Scheduler: Send + Sync {
    /// Makes the schedule, or makes the one of its name be so.
    /// (`scheduler:CreateSchedule`, `scheduler:UpdateSchedule`, `iam:PassRole`)
    async fn put(&self, schedule: &Schedule, now: i64) -> Result<(), CloudError>;

    /// Whether there is a schedule of this name that is exactly so. (`scheduler:GetSchedule`)
    async fn stands(&self, schedule: &Schedule, now: i64) -> Result<bool, CloudError>;

    /// Removes the schedule; an absent one is fine. (`scheduler:DeleteSchedule`)
    async fn delete(&self, name: &str, now: i64) -> Result<(), CloudError>;

    /// The schedules of the group, a page at a time. (`scheduler:ListSchedules`)
    async fn list(&self, from: Option<&str>, now: i64) -> Result<Page, CloudError>;
}

/// The calls of [`Scheduler`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "Scheduler":
        PUT = "put" => ["scheduler:CreateSchedule", "scheduler:UpdateSchedule", "iam:PassRole"];
        STANDS = "stands" => ["scheduler:GetSchedule"];
        DELETE = "delete" => ["scheduler:DeleteSchedule"];
        LIST = "list" => ["scheduler:ListSchedules"];
    }
}
