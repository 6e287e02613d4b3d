//! The schedule of a cron trigger.

use gennaker_cloud::scheduler::{SCHEDULED_TIME, Schedule};
use gennaker_domain::Problem;
use gennaker_triggers::cron::{self, Cron};
use gennaker_triggers::trigger::Trigger;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Spinnaker's time zone for cron triggers.
pub const TIME_ZONE: &str = "America/Los_Angeles";

/// Longest name of a schedule.
const MAX_NAME: usize = 64;

/// How cron triggers become schedules in this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronSettings {
    /// Time zone of triggers and pipelines that name none.
    pub time_zone: String,
    /// What every schedule says in place of the trigger's own expression, in UTC: the function then looks each time
    /// whether the trigger is due. For emulators whose Scheduler knows no time zones.
    pub every: Option<String>,
}

impl Default for CronSettings {
    fn default() -> Self {
        Self {
            time_zone: TIME_ZONE.to_owned(),
            every: None,
        }
    }
}

/// A cron trigger of a pipeline.
pub(crate) struct CronTrigger<'a> {
    pub pipeline_id: &'a str,
    /// Place in the pipeline's triggers.
    pub index: usize,
    /// As written.
    pub written: &'a Value,
    pub trigger: &'a Trigger,
    /// The pipeline's own time zone.
    pub time_zone: Option<&'a str>,
}

/// A schedule, and what to say about it.
#[derive(Debug)]
pub(crate) struct Scheduled {
    pub schedule: Schedule,
    pub warning: Option<Problem>,
}

/// Key of the trigger index for the trigger of a schedule.
#[must_use]
pub fn index_key(schedule: &str) -> String {
    format!("cron#{schedule}")
}

impl CronTrigger<'_> {
    fn path(&self, field: &str) -> String {
        format!("$.triggers[{}].{field}", self.index)
    }

    /// The schedule that fires the trigger. A warning in place of it is about a trigger that starts nothing any more.
    pub(crate) fn schedule(
        &self,
        settings: &CronSettings,
        now: i64,
    ) -> Result<Scheduled, Box<Problem>> {
        let invalid =
            |message: String| Problem::error("invalid-cron", self.path("cronExpression"), message);
        let written = self
            .trigger
            .text("cronExpression")
            .ok_or_else(|| invalid("the trigger has no `cronExpression`".to_owned()))?;
        let (zone_name, zone) = self.zone(settings)?;
        let now = Timestamp::from_millisecond(now).unwrap_or_default();
        let year = now.to_zoned(TimeZone::UTC).year();
        let (expression, fuzzed_second) = self.fuzzed(written);
        let parsed = Cron::parse(&expression, year).map_err(|error| {
            invalid(format!("`{written}`: {error}"))
                .with_hint("`gennaker cron next` shows what an expression names")
        })?;
        let spoken = self.spoken(written, &parsed)?;
        if parsed.next(now, &zone).is_none() {
            // Such a pipeline may be saved: nothing is lost.
            let message = format!("`{written}` fires never again");
            let problem = Problem::warning("cron-over", self.path("cronExpression"), message);
            return Err(Box::new(problem.with_hint("disable the trigger")));
        }
        let name = self.name(&expression, &zone_name);
        let (expression_of_schedule, zone_of_schedule) = match &settings.every {
            Some(every) => (every.clone(), "UTC".to_owned()),
            None => (spoken, zone_name.clone()),
        };
        let warning = fuzzed_second.then(|| {
            Problem::warning(
                "cron-full-minute",
                self.path("cronExpression"),
                "a schedule has no seconds: `H` among them is the full minute",
            )
        });
        Ok(Scheduled {
            schedule: Schedule {
                input: json!({
                    "schedule": name,
                    "cronExpression": expression,
                    "timeZone": zone_name,
                    "scheduledTime": SCHEDULED_TIME,
                }),
                name,
                expression: expression_of_schedule,
                time_zone: zone_of_schedule,
            },
            warning,
        })
    }

    /// What Scheduler is told; what it cannot be told at all is refused.
    fn spoken(&self, written: &str, parsed: &Cron) -> Result<String, Box<Problem>> {
        match parsed.schedule() {
            cron::Schedule::Exact { expression }
            | cron::Schedule::CalendarCheck { expression, .. } => Ok(expression),
            cron::Schedule::Refused { reason, nearest } => {
                let message = format!("`{written}`: {reason}");
                let problem = Problem::error("cron-not-kept", self.path("cronExpression"), message);
                Err(Box::new(problem.with_hint(format!(
                    "the nearest that can be kept is `{nearest}`"
                ))))
            }
        }
    }

    /// The trigger's time zone, else the pipeline's, else the installation's.
    fn zone(&self, settings: &CronSettings) -> Result<(String, TimeZone), Box<Problem>> {
        let own = self.written.get("timeZone").and_then(Value::as_str);
        let name = own
            .or(self.time_zone)
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .unwrap_or(&settings.time_zone);
        let zone = TimeZone::get(name).map_err(|_| {
            Problem::error(
                "unknown-time-zone",
                self.path("timeZone"),
                format!("the time zone `{name}` is not known"),
            )
            .with_hint("give a name such as `Europe/Berlin`")
        })?;
        Ok((name.to_owned(), zone))
    }

    /// The expression with its `H` made numbers, and whether there was one among the seconds: those are the full minute,
    /// which is as good as any other second to whom it does not matter.
    fn fuzzed(&self, written: &str) -> (String, bool) {
        let written = written.trim();
        let (seconds, rest) = written.split_once(' ').unwrap_or((written, ""));
        let fuzzed_second = seconds == "H";
        let text = if fuzzed_second {
            format!("0 {rest}")
        } else {
            written.to_owned()
        };
        let own = format!("{}/{}", self.pipeline_id, self.index);
        let id = self.trigger.text("id").filter(|id| !id.is_empty());
        // What has too few fields is refused by the parser, in Quartz's words.
        let fuzzed = cron::fuzzed(id.unwrap_or(&own), &text).unwrap_or(text);
        (fuzzed, fuzzed_second)
    }

    /// Name of the schedule, derived from everything that it says: another schedule has another name, so that none is
    /// ever changed under a trigger that still counts.
    fn name(&self, expression: &str, zone: &str) -> String {
        let mut content = self.trigger.to_json();
        if let Some(fields) = content.as_object_mut() {
            for field in ["id", "cronExpression", "secret"] {
                fields.shift_remove(field);
            }
        }
        let mut hash = Sha256::new();
        for part in [self.pipeline_id, expression, zone, &content.to_string()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hex::encode(hash.finalize());
        let hash: String = digest.chars().take(20).collect();
        let front: String = self
            .pipeline_id
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(MAX_NAME - 21)
            .collect();
        format!("{front}-{hash}")
    }
}
