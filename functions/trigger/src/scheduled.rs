//! Cron triggers: what a schedule fires.

use gennaker_cloud::functions::function_name;
use gennaker_domain::ExecutionId;
use gennaker_lambda::FunctionError;
use gennaker_triggers::cron::Cron;
use gennaker_triggers::trigger::Trigger as CronTrigger;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::Trigger;

/// A call by a schedule: `{"schedule","cronExpression","timeZone","scheduledTime"}`.
pub(crate) struct Fired<'a> {
    schedule: &'a str,
    expression: &'a str,
    zone: &'a str,
    /// When it was due, where the schedule says so.
    scheduled: Option<Timestamp>,
}

impl<'a> Fired<'a> {
    /// The call of a schedule; none for any other event.
    pub(crate) fn read(event: &'a Value) -> Option<Self> {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        Some(Self {
            schedule: text("schedule")?,
            expression: text("cronExpression")?,
            zone: text("timeZone")?,
            scheduled: text("scheduledTime").and_then(|time| time.parse().ok()),
        })
    }

    /// The fire time that the call is about, or why it is about none.
    fn due(&self, now: i64) -> Result<Timestamp, String> {
        let zone = TimeZone::get(self.zone)
            .map_err(|_| format!("the time zone `{}` is not known", self.zone))?;
        let at = match self.scheduled {
            Some(scheduled) => scheduled,
            None => Timestamp::from_millisecond(now).map_err(|error| error.to_string())?,
        };
        let cron = Cron::parse(self.expression, at.to_zoned(TimeZone::UTC).year())
            .map_err(|error| format!("`{}`: {error}", self.expression))?;
        cron.due(at, &zone)
            .ok_or_else(|| format!("`{}` does not fire at {at}", self.expression))
    }
}

impl Trigger {
    /// Starts the pipeline of a schedule once for each fire time, however often it is called for it. A schedule whose
    /// entry is gone was just removed, or will be by the sweep: it starts nothing.
    pub(crate) async fn scheduled(
        &self,
        fired: Fired<'_>,
        now: i64,
    ) -> Result<Value, FunctionError> {
        let due = match fired.due(now) {
            Ok(due) => due,
            Err(reason) => return Ok(json!({ "started": [], "reason": reason })),
        };
        let mut started = Vec::new();
        for entry in self
            .store
            .triggers(&format!("cron#{}", fired.schedule))
            .await?
        {
            let trigger = CronTrigger::read(&entry.trigger)
                .map_err(|error| FunctionError::Invalid(error.to_string()))?;
            let mut resolved = trigger.to_json();
            if let Some(fields) = resolved.as_object_mut() {
                for field in ["id", "secret"] {
                    fields.shift_remove(field);
                }
                fields.insert("eventId".to_owned(), due.to_string().into());
            }
            let at = due.as_millisecond();
            let id = ExecutionId::derive(at, &[fired.schedule, &entry.pipeline_id]);
            let payload = json!({
                "executionId": id,
                "application": entry.application,
                "pipeline": entry.pipeline_id,
                "trigger": resolved,
            });
            tracing::info!(application = entry.application, pipeline = entry.pipeline_id, trigger = entry.index, matched = true, due = %due, "trigger");
            self.functions
                .invoke_later(&function_name(&self.prefix, "start"), &payload)
                .await?;
            started.push(id);
        }
        Ok(json!({ "started": started }))
    }
}
