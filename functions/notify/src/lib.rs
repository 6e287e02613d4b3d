#![doc = include_str!("../README.md")]

mod approvals;
pub mod bus;
pub mod channel;
pub mod message;
pub mod setting;
pub mod told;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Store;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::notification::AwsNotifications;
use gennaker_domain::execution_json::execution_json;
use gennaker_domain::rollup::{Records, Rollup};
use gennaker_domain::{Execution, ExecutionId, Plan, Run, occasion};
use gennaker_http::{AwsSecrets, SignedCalls};
use gennaker_lambda::resolve::{Reader, evaluator};
use gennaker_lambda::{
    Connection, Function, FunctionError, Resolver, internet, prefix, setting as variable,
};
use serde_json::{Value, json};

use approvals::Asked;
use bus::StageFacts;
use channel::{ChannelError, Channels, Posted, Settings, Subject};
use message::{About, Message};
use told::{Claim, Occasion};

/// Tells people and systems what happens.
pub struct Notify {
    store: Store,
    channels: Channels,
    resolver: Resolver,
}

/// Everything read about an execution.
struct Situation {
    execution: Execution,
    plan: Plan,
    records: Records,
    trigger: Value,
    /// The application's record; null if there is none.
    application: Value,
    /// The execution as expressions see it.
    json: Value,
}

/// Why somebody was not told: a try that may succeed later is left.
struct Left(String);

impl Notify {
    /// On a store and channels.
    #[must_use]
    pub fn new(store: Store, channels: Channels) -> Self {
        Self {
            store,
            channels,
            resolver: Resolver::new(),
        }
    }

    /// On AWS, with the settings of this process.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let table = DynamoDb::new(connection, gennaker_lambda::table_name());
        let channels = Channels {
            notifications: Arc::new(AwsNotifications::new(connection)),
            aws: Arc::new(SignedCalls::new(connection)),
            http: Arc::new(internet()),
            secrets: Arc::new(AwsSecrets::new(connection)),
            settings: Settings {
                base_url: variable("BASE_URL"),
                bus: Some(variable("BUS_NAME").unwrap_or_else(prefix)),
                email_from: variable("EMAIL_FROM"),
                approval_topic: variable("APPROVAL_TOPIC"),
                public_url: variable("PUBLIC_URL"),
                slack_api: variable("SLACK_API"),
                slack_token: variable("SLACK_TOKEN"),
                github_token: variable("GITHUB_TOKEN"),
                github_api: variable("GITHUB_API"),
                twilio_account: variable("TWILIO_ACCOUNT"),
                twilio_token: variable("TWILIO_TOKEN"),
                twilio_from: variable("TWILIO_FROM"),
                topics: variable("TOPICS"),
            },
        };
        Self::new(Store::new(Arc::new(table)), channels)
    }

    /// One occasion: `{"execution","when","run"?,"stage"?}`, of a manual judgment also `"approval","round","reminder"?`.
    /// With the end of an execution, what was lost of its stages
    /// is told first.
    ///
    /// # Errors
    /// What may pass: Lambda calls again, and who was told is not told again. Whoever refuses is logged.
    pub async fn notify(&self, event: &Value, now: i64) -> Result<Value, FunctionError> {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        let (Some(id), Some(when)) = (text("execution"), text("when")) else {
            return Err(FunctionError::Invalid(
                "the event has no `execution` and `when`".to_owned(),
            ));
        };
        let id = ExecutionId::try_from(id.to_owned())
            .map_err(|error| FunctionError::Invalid(error.to_string()))?;
        let Some(situation) = self.situation(&id).await? else {
            return Ok(json!({ "sent": 0 }));
        };
        let number = event.get("run").and_then(Value::as_u64);
        let run = number
            .and_then(|run| u32::try_from(run).ok())
            .unwrap_or(situation.execution.run);
        let asked = match text("approval") {
            None => None,
            Some(approval) => match self
                .asked(event, approval, when, (&situation.execution, now))
                .await?
            {
                None => return Ok(json!({ "sent": 0 })),
                asked => asked,
            },
        };
        let part = asked.as_ref().map(|asked| asked.part.clone());
        let occasions = match text("stage") {
            Some(stage) => situation.of_stage(id.run(run), stage, when, part),
            None => {
                self.of_execution(&situation, id.run(run), when, now)
                    .await?
            }
        };
        let mut sent = 0;
        let mut left: Vec<String> = Vec::new();
        for occasion in &occasions {
            match self.tell(&situation, occasion, asked.as_ref(), now).await? {
                Ok(count) => sent += count,
                Err(Left(reason)) => left.push(reason),
            }
        }
        if left.is_empty() {
            return Ok(json!({ "sent": sent }));
        }
        Err(FunctionError::Cloud(gennaker_cloud::CloudError::NoAnswer {
            operation: "notify".to_owned(),
            resource: id.to_string(),
            message: left.join("; "),
        }))
    }

    async fn situation(&self, id: &ExecutionId) -> Result<Option<Situation>, FunctionError> {
        let Some(execution) = self.store.execution(id).await? else {
            return Ok(None);
        };
        let Some(plan) = self.store.plan(&execution.plan_hash).await? else {
            return Ok(None);
        };
        let records = self.store.stages(id).await?;
        let trigger = self.store.trigger(id).await?.unwrap_or(Value::Null);
        let application = self.store.application(&execution.application).await?;
        let application = application.map_or(Value::Null, Value::Object);
        let json = execution_json(&plan, &execution, &records, &trigger);
        Ok(Some(Situation {
            execution,
            plan,
            records,
            trigger,
            application,
            json,
        }))
    }

    /// The occasion itself; at the end of an execution after all ends of stages of which somebody was not told, and with
    /// what still asked by then asking no more.
    async fn of_execution(
        &self,
        situation: &Situation,
        run: Run,
        when: &str,
        now: i64,
    ) -> Result<Vec<Occasion>, FunctionError> {
        let own = Occasion {
            run,
            stage: None,
            when: when.to_owned(),
            part: None,
        };
        let mut occasions = Vec::new();
        if when != occasion::PIPELINE_STARTING {
            let complete = told::complete(&self.store, &situation.execution).await?;
            if !complete.contains(&own.id()) {
                self.close_questions(situation, now).await?;
            }
            occasions = situation.ends();
            occasions.retain(|occasion| !complete.contains(&occasion.id()));
        }
        occasions.push(own);
        Ok(occasions)
    }

    /// Tells everybody of one occasion. How many people were told now; or, inside, that somebody is left.
    async fn tell(
        &self,
        situation: &Situation,
        occasion: &Occasion,
        asked: Option<&Asked>,
        now: i64,
    ) -> Result<Result<usize, Left>, FunctionError> {
        let settings = match asked {
            None => self.settings(situation, occasion, now).await?,
            Some(_) if !message::is_for_people(&occasion.when, &situation.execution) => Vec::new(),
            Some(asked) => {
                let topic = self.channels.settings.approval_topic.as_deref();
                asked.settings(&occasion.when, topic)
            }
        };
        let Claim::Taken(mut outcomes) = told::claim(&self.store, occasion, now).await? else {
            return Ok(Ok(0));
        };
        let mut left = None;
        if let Some(name) = self
            .channels
            .settings
            .bus
            .as_deref()
            .filter(|_| !outcomes.contains_key("bus"))
        {
            let detail = self.detail(situation, occasion);
            let put = bus::put(
                self.channels.aws.as_ref(),
                name,
                &occasion.when,
                &detail,
                now,
            )
            .await;
            match put.map_err(ChannelError::from) {
                Ok(()) => drop(outcomes.insert("bus".to_owned(), "sent".into())),
                Err(ChannelError::Passing(reason)) => left = Some(Left(reason)),
                Err(ChannelError::Refused(reason)) => {
                    tracing::error!(execution = %occasion.run.execution, when = occasion.when, reason, "the bus refused the event");
                    outcomes.insert("bus".to_owned(), "refused".into());
                }
            }
        }
        let mut sent = 0;
        for (place, setting) in settings.iter().enumerate() {
            let place = place.to_string();
            if outcomes.contains_key(&place) {
                continue;
            }
            let sending = self.send(situation, occasion, setting, asked, now).await;
            let outcome = match sending {
                Ok(posted) => {
                    if let (Some(asked), Some(posted)) = (asked, &posted) {
                        approvals::note(&self.store, asked, posted).await?;
                    }
                    sent += 1;
                    "sent"
                }
                Err(ChannelError::Passing(reason)) => {
                    left = Some(Left(reason));
                    continue;
                }
                Err(ChannelError::Refused(reason)) => {
                    let kind = setting.get("type").and_then(Value::as_str).unwrap_or("");
                    tracing::error!(execution = %occasion.run.execution, when = occasion.when, kind, reason, "a notification was refused");
                    "refused"
                }
            };
            outcomes.insert(place, outcome.into());
        }
        if let Some(asked) = asked.filter(|_| sent > 0) {
            self.close_late(asked, now).await?;
        }
        told::note(&self.store, occasion, outcomes, left.is_none()).await?;
        Ok(match left {
            Some(left) => Err(left),
            None => Ok(sent),
        })
    }

    /// The settings that want to hear of the occasion, their expressions evaluated.
    async fn settings(
        &self,
        situation: &Situation,
        occasion: &Occasion,
        now: i64,
    ) -> Result<Vec<Value>, FunctionError> {
        if !message::is_for_people(&occasion.when, &situation.execution) {
            return Ok(Vec::new());
        }
        let own = match &occasion.stage {
            None => {
                let mut own = situation.plan.notifications.clone();
                let added = situation
                    .trigger
                    .get("notifications")
                    .and_then(Value::as_array);
                own.extend(added.into_iter().flatten().cloned());
                own
            }
            Some(ref_id) => match situation.plan.stage(ref_id) {
                // A sub-stage has its parent's settings in its context, and its parent tells.
                Some(stage) if stage.parent.is_none() => setting::of_stage(&stage.context),
                _ => Vec::new(),
            },
        };
        let own = self.evaluated(situation, occasion, own.into(), now).await?;
        let own = own.as_array().cloned().unwrap_or_default();
        let all = match &occasion.stage {
            Some(_) => own,
            None => {
                let application = situation.application.get("notifications");
                let application = application.map(setting::of_application).unwrap_or_default();
                let application = self
                    .evaluated(situation, occasion, application.into(), now)
                    .await?;
                setting::merged(&own, application.as_array().cloned().unwrap_or_default())
            }
        };
        Ok(all
            .into_iter()
            .filter(|setting| setting::hears(setting, &occasion.when))
            .collect())
    }

    async fn evaluated(
        &self,
        situation: &Situation,
        occasion: &Occasion,
        source: Value,
        now: i64,
    ) -> Result<Value, FunctionError> {
        let reader = Reader {
            store: &self.store,
            execution: &situation.json,
            stage: occasion.stage.as_deref(),
            evaluator: evaluator(&situation.plan),
            now,
            seed: &occasion.id(),
        };
        Ok(self.resolver.read(&reader, &source).await?)
    }

    async fn send(
        &self,
        situation: &Situation,
        occasion: &Occasion,
        setting: &Value,
        asked: Option<&Asked>,
        now: i64,
    ) -> Result<Option<Posted>, ChannelError> {
        let recipient = setting::recipient(setting)
            .map_err(|error| ChannelError::Refused(error.to_string()))?;
        let stage = occasion.stage.as_deref();
        let about = About {
            execution: &situation.execution,
            stage: stage.and_then(|ref_id| situation.plan.stage(ref_id)),
            stage_reason: stage.and_then(|ref_id| situation.reason(ref_id)),
            when: &occasion.when,
            base_url: self.channels.settings.base_url.as_deref(),
        };
        let message = Message::new(&about, setting, occasion.id());
        let message = match asked {
            Some(asked) => asked.fill(message),
            None => message,
        };
        let subject = Subject {
            trigger: &situation.trigger,
        };
        self.channels.send(&recipient, &message, subject, now).await
    }

    fn detail(&self, situation: &Situation, occasion: &Occasion) -> Value {
        let rollup = Rollup::new(&situation.plan, &situation.records);
        let facts = occasion.stage.as_deref().and_then(|ref_id| {
            Some(StageFacts {
                stage: situation.plan.stage(ref_id)?,
                status: rollup.status(ref_id),
                times: rollup.times(ref_id),
                record: situation.records.get(ref_id),
            })
        });
        let link = message::link(
            self.channels.settings.base_url.as_deref(),
            &situation.execution,
        );
        bus::detail(
            &situation.execution,
            occasion.run.number,
            facts.as_ref(),
            &occasion.when,
            &occasion.id(),
            link,
        )
    }
}

impl Situation {
    /// The occasion of a stage, and those of the groups that begin or end with it: outermost first where they begin,
    /// innermost first where they end.
    fn of_stage(&self, run: Run, ref_id: &str, when: &str, part: Option<String>) -> Vec<Occasion> {
        let own = Occasion {
            run: run.clone(),
            stage: Some(ref_id.to_owned()),
            when: when.to_owned(),
            part,
        };
        let groups = self.plan.lineage(ref_id).into_iter().skip(1);
        if when == occasion::STAGE_STARTING {
            let mut all: Vec<Occasion> = groups
                .map(|group| Occasion {
                    stage: Some(group.ref_id.clone()),
                    ..own.clone()
                })
                .collect();
            all.reverse();
            all.push(own);
            return all;
        }
        let mut all = vec![own];
        if when.starts_with("stage.") {
            let rollup = Rollup::new(&self.plan, &self.records);
            all.extend(groups.filter_map(|group| {
                let when = occasion::stage_end(rollup.status(&group.ref_id))?;
                Some(Occasion {
                    run: run.clone(),
                    stage: Some(group.ref_id.clone()),
                    when: when.to_owned(),
                    part: None,
                })
            }));
        }
        all
    }

    /// The ends of all stages that have ended.
    fn ends(&self) -> Vec<Occasion> {
        let rollup = Rollup::new(&self.plan, &self.records);
        self.plan
            .stages
            .iter()
            .filter_map(|stage| {
                let when = occasion::stage_end(rollup.status(&stage.ref_id))?;
                let run = self.run_of(&stage.ref_id)?;
                Some(Occasion {
                    run: self.execution.id.run(run),
                    stage: Some(stage.ref_id.clone()),
                    when: when.to_owned(),
                    part: None,
                })
            })
            .collect()
    }

    /// The run in which a stage ended; of a group the last one of its stages.
    fn run_of(&self, ref_id: &str) -> Option<u32> {
        let below = self
            .plan
            .children(ref_id)
            .filter_map(|child| self.run_of(&child.ref_id));
        let own = self.records.get(ref_id).map(|record| record.run);
        own.into_iter().chain(below).max()
    }

    /// Why a stage failed; of a group why the first of its stages did.
    fn reason(&self, ref_id: &str) -> Option<&str> {
        let own = self
            .records
            .get(ref_id)
            .and_then(|record| record.failure.as_ref());
        own.map(|failure| failure.reason.as_str()).or_else(|| {
            self.plan
                .children(ref_id)
                .find_map(|child| self.reason(&child.ref_id))
        })
    }
}

#[async_trait]
impl Function for Notify {
    async fn handle(&self, event: Value, now: i64) -> Result<Value, FunctionError> {
        self.notify(&event, now).await
    }
}
