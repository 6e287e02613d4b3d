//! EventBridge Scheduler by signed calls.

use async_trait::async_trait;
use gennaker_cloud::scheduler::{Listed, Page, Schedule, Scheduler};
use gennaker_cloud::{CloudError, Connection};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::Method;
use crate::signed_call::{Aws, SignedCall, SignedCalls};

/// How often Scheduler tries to hand an event over before it becomes a dead letter.
const ATTEMPTS: u32 = 10;
/// How old an event may become on the way, in seconds.
const EVENT_AGE_SECONDS: u32 = 3_600;

/// Whom the schedules of a group call, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleTarget {
    /// The group; it has to exist.
    pub group: String,
    /// ARN of the function.
    pub function: String,
    /// ARN of the role that Scheduler assumes.
    pub role: String,
    /// ARN of the queue for what cannot be handed over; an empty text is none.
    pub dead_letters: String,
}

/// EventBridge Scheduler on AWS.
#[derive(Debug)]
pub struct AwsScheduler {
    calls: SignedCalls,
    target: ScheduleTarget,
}

impl AwsScheduler {
    /// With the connection's credentials, region and endpoint.
    #[must_use]
    pub fn new(connection: &Connection, target: ScheduleTarget) -> Self {
        Self {
            calls: SignedCalls::new(connection),
            target,
        }
    }

    fn query(&self, more: &[(&str, &str)], group: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair(group, &self.target.group);
        for (name, value) in more {
            query.append_pair(name, value);
        }
        query.finish()
    }

    fn body(&self, schedule: &Schedule) -> Value {
        let mut target = json!({
            "Arn": self.target.function,
            "RoleArn": self.target.role,
            "Input": schedule.input.to_string(),
            "RetryPolicy": { "MaximumRetryAttempts": ATTEMPTS, "MaximumEventAgeInSeconds": EVENT_AGE_SECONDS },
        });
        if let Some(target) = target.as_object_mut()
            && !self.target.dead_letters.is_empty()
        {
            target.insert(
                "DeadLetterConfig".to_owned(),
                json!({ "Arn": self.target.dead_letters }),
            );
        }
        json!({
            "GroupName": self.target.group,
            "ScheduleExpression": schedule.expression,
            "ScheduleExpressionTimezone": schedule.time_zone,
            "FlexibleTimeWindow": { "Mode": "OFF" },
            "State": "ENABLED",
            "Target": target,
        })
    }
}

/// Whether everything in `wanted` stands in `found` as well; Scheduler adds fields of its own.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| found.get(name).is_some_and(|found| holds(found, value))),
        (found, wanted) => found == wanted,
    }
}

#[async_trait]
impl Scheduler for AwsScheduler {
    async fn put(&self, schedule: &Schedule, now: i64) -> Result<(), CloudError> {
        let call = |operation, method| {
            let path = format!("schedules/{}", schedule.name);
            SignedCall::rest(
                "scheduler",
                operation,
                method,
                path,
                &schedule.name,
                self.body(schedule),
            )
        };
        let create = call("scheduler:CreateSchedule", Method::Post);
        match self.calls.send(&create, now).await {
            Err(error) if error.is_code("ConflictException") => {
                let update = call("scheduler:UpdateSchedule", Method::Put);
                self.calls.send(&update, now).await.map(|_| ())
            }
            answer => answer.map(|_| ()),
        }
    }

    async fn stands(&self, schedule: &Schedule, now: i64) -> Result<bool, CloudError> {
        let path = format!(
            "schedules/{}?{}",
            schedule.name,
            self.query(&[], "groupName")
        );
        let get = SignedCall::rest(
            "scheduler",
            "scheduler:GetSchedule",
            Method::Get,
            path,
            &schedule.name,
            Value::Null,
        );
        match self.calls.send(&get, now).await {
            Ok(found) => Ok(holds(&found, &self.body(schedule))),
            Err(error) if error.is_code("ResourceNotFoundException") => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, name: &str, now: i64) -> Result<(), CloudError> {
        let path = format!("schedules/{name}?{}", self.query(&[], "groupName"));
        let delete = SignedCall::rest(
            "scheduler",
            "scheduler:DeleteSchedule",
            Method::Delete,
            path,
            name,
            Value::Null,
        );
        match self.calls.send(&delete, now).await {
            Err(error) if error.is_code("ResourceNotFoundException") => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    async fn list(&self, from: Option<&str>, now: i64) -> Result<Page, CloudError> {
        let more: Vec<(&str, &str)> = from.map(|from| ("NextToken", from)).into_iter().collect();
        let path = format!("schedules?{}", self.query(&more, "ScheduleGroup"));
        let list = SignedCall::rest(
            "scheduler",
            "scheduler:ListSchedules",
            Method::Get,
            path,
            &self.target.group,
            Value::Null,
        );
        let answer = self.calls.send(&list, now).await?;
        let schedules = answer
            .get("Schedules")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|one| {
                // Seconds, with a fraction.
                let made = one
                    .get("CreationDate")
                    .and_then(Value::as_f64)
                    .unwrap_or(0.0);
                Some(Listed {
                    name: one.get("Name")?.as_str()?.to_owned(),
                    made_at: (made * 1_000.0) as i64,
                })
            })
            .collect();
        let next = answer.get("NextToken").and_then(Value::as_str);
        Ok(Page {
            schedules,
            next: next.map(str::to_owned),
        })
    }
}
