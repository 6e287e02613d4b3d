#![doc = include_str!("../README.md")]

pub mod cron;
pub mod index;
pub mod machine;
pub mod mend;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::scheduler::Schedule;
use gennaker_cloud::step_functions::AwsStepFunctions;
use gennaker_cloud::store::pipelines::{
    MAX_TRIGGER_WRITES, Pipeline, Revision, SaveAnswer, TriggerEntry,
};
use gennaker_cloud::{CloudError, Scheduler, StepFunctions, Store};
use gennaker_compiler::{Compiled, Mode, Options, preconfigured};
use gennaker_domain::{Problem, Severity};
use gennaker_http::{AwsScheduler, ScheduleTarget};
use gennaker_lambda::{Connection, Function, FunctionError, setting};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use cron::CronSettings;
use index::{Home, Indexed};

/// Fields that the server adds: they make no revision.
const SERVER_FIELDS: [&str; 4] = ["lastModified", "lastModifiedBy", "updateTs", "createTs"];

/// The longest id of a pipeline, in bytes: a sort key of the table has at most 1,024, and it holds more than the id.
const MAX_ID: usize = 256;

/// Saves pipelines.
pub struct SavePipeline {
    store: Store,
    step_functions: Arc<dyn StepFunctions>,
    scheduler: Arc<dyn Scheduler>,
    prefix: String,
    role: String,
    home: Home,
    cron: CronSettings,
}

/// A pipeline that may be saved.
struct Draft {
    application: String,
    id: String,
    name: String,
    config: Value,
    /// The record as it was read.
    before: Option<Pipeline>,
}

fn refused(problems: &[Problem]) -> Value {
    json!({ "problems": problems })
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// SHA-256 of a configuration without what the server adds.
fn config_hash(config: &Value) -> String {
    let mut own: Map<String, Value> = config.as_object().cloned().unwrap_or_default();
    own.retain(|name, _| !SERVER_FIELDS.contains(&name.as_str()));
    sha256(&Value::Object(own).to_string())
}

/// Id of a pipeline that was given without one: a UUID's form, derived from application and name.
#[must_use]
pub fn derived_id(application: &str, name: &str) -> String {
    let digest = sha256(&format!("{application}\n{}", name.trim().to_lowercase()));
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or("");
    // Version 8 (RFC 9562): the bits are ours.
    format!(
        "{}-{}-8{}-a{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

/// What changed between two configurations, for the list of revisions.
#[must_use]
pub fn summary(before: Option<&Value>, after: &Value) -> String {
    let empty = Map::new();
    let Some(before) = before.and_then(Value::as_object) else {
        return "new".to_owned();
    };
    let after = after.as_object().unwrap_or(&empty);
    let mut names: Vec<&str> = before
        .keys()
        .chain(after.keys())
        .map(String::as_str)
        .filter(|name| !SERVER_FIELDS.contains(name))
        .filter(|name| before.get(*name) != after.get(*name))
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        "compiled anew".to_owned()
    } else {
        format!("changed: {}", names.join(", "))
    }
}

impl SavePipeline {
    /// On a store, Step Functions and a group of schedules; `role` is the role that the machines run as.
    pub fn new(
        store: Store,
        step_functions: Arc<dyn StepFunctions>,
        scheduler: Arc<dyn Scheduler>,
        prefix: impl Into<String>,
        role: impl Into<String>,
        home: Home,
    ) -> Self {
        Self {
            store,
            step_functions,
            scheduler,
            prefix: prefix.into(),
            role: role.into(),
            home,
            cron: CronSettings::default(),
        }
    }

    /// The same with other settings for cron triggers.
    #[must_use]
    pub fn with_cron(mut self, settings: CronSettings) -> Self {
        self.cron = settings;
        self
    }

    /// On AWS, with the settings of this process: `MACHINE_ROLE` is the ARN of the machines' role, and the account is
    /// its account; `SCHEDULE_GROUP` the group of the cron triggers' schedules, `SCHEDULE_TARGET` the ARN of the function
    /// that they call, `SCHEDULE_ROLE` the role that Scheduler does so as, `SCHEDULE_DEAD_LETTERS` the queue for what it
    /// cannot hand over; `CRON_TIME_ZONE` and `CRON_SCHEDULE` are [`CronSettings`].
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let table = DynamoDb::new(connection, gennaker_lambda::table_name());
        let role = setting("MACHINE_ROLE").unwrap_or_default();
        let mut parts = role.split(':').skip(1);
        let partition = parts.next().unwrap_or("aws");
        let account = parts.nth(2).unwrap_or_default();
        let region = connection
            .config()
            .region()
            .map(ToString::to_string)
            .unwrap_or_default();
        let home = Home::new(partition, account, region);
        let schedules = ScheduleTarget {
            group: setting("SCHEDULE_GROUP").unwrap_or_else(gennaker_lambda::prefix),
            function: setting("SCHEDULE_TARGET").unwrap_or_default(),
            role: setting("SCHEDULE_ROLE").unwrap_or_default(),
            dead_letters: setting("SCHEDULE_DEAD_LETTERS").unwrap_or_default(),
        };
        let cron = CronSettings {
            time_zone: setting("CRON_TIME_ZONE").unwrap_or_else(|| cron::TIME_ZONE.to_owned()),
            every: setting("CRON_SCHEDULE"),
        };
        Self::new(
            Store::new(Arc::new(table)),
            Arc::new(AwsStepFunctions::new(connection)),
            Arc::new(AwsScheduler::new(connection, schedules)),
            gennaker_lambda::prefix(),
            role,
            home,
        )
        .with_cron(cron)
    }

    /// One request: `{"application","pipeline":{…},"author"?,"staleCheck"?}` or
    /// `{"delete":{"application","pipeline"}}`.
    ///
    /// # Errors
    /// Those of the table and of Step Functions: the same request again finishes what was begun.
    pub async fn save(&self, event: &Value, now: i64) -> Result<Value, FunctionError> {
        if let Some(request) = event.get("delete") {
            return self.delete(request, now).await;
        }
        if event.get("mend").is_some() {
            return self.mend(now).await;
        }
        let author = event
            .get("author")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let draft = match self.draft(event).await? {
            Ok(draft) => draft,
            Err(problem) => return Ok(refused(&[problem])),
        };
        let webhooks = if preconfigured::may_use(&draft.config) {
            self.store.webhooks().await?
        } else {
            Vec::new()
        };
        let preconfigured = match preconfigured::read(&Value::Array(webhooks)) {
            Ok(preconfigured) => preconfigured,
            // They were checked when they were saved, perhaps by a release that knew fewer stage types.
            Err(problems) => return Ok(refused(&problems)),
        };
        let options = Options {
            prefix: self.prefix.clone(),
            application: Some(draft.application.clone()),
            mode: Mode::Save,
            preconfigured,
            ..Options::default()
        };
        let compiled = match gennaker_compiler::compile(&draft.config, &options) {
            Ok(compiled) => compiled,
            Err(problems) => return Ok(refused(&problems)),
        };
        self.write(&draft, compiled, author, now).await
    }

    /// Which pipeline is meant, and whether the request may change it.
    async fn draft(&self, event: &Value) -> Result<Result<Draft, Problem>, FunctionError> {
        let Some(given) = event.get("pipeline").and_then(Value::as_object) else {
            return Err(FunctionError::Invalid(
                "the event has no `pipeline`, or it is no object".to_owned(),
            ));
        };
        let field = |name: &str| {
            given
                .get(name)
                .and_then(Value::as_str)
                .map(str::trim)
                .filter(|text| !text.is_empty())
        };
        let application = event
            .get("application")
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .or_else(|| field("application"));
        let Some(application) = application else {
            return Ok(Err(Problem::error(
                "missing-application",
                "$.application",
                "the pipeline belongs to no application",
            )
            .with_hint("give `--application`")));
        };
        let Some(name) = field("name") else {
            return Ok(Err(Problem::error(
                "missing-name",
                "$.name",
                "the pipeline has no name",
            )));
        };
        if field("id").is_some_and(|id| id.len() > MAX_ID) {
            return Ok(Err(Problem::error(
                "bad-id",
                "$.id",
                format!("the id is longer than {MAX_ID} bytes"),
            )));
        }
        let before = match field("id") {
            Some(id) => self.store.pipeline(application, id).await?,
            None => match self.store.find_pipeline(application, name).await? {
                Some(found) => Some(found),
                None => {
                    let id = derived_id(application, name);
                    self.store.pipeline(application, &id).await?
                }
            },
        };
        let stale = event.get("staleCheck") == Some(&Value::Bool(true));
        if let Some(before) = before.as_ref().filter(|before| stale && !before.deleted)
            && given.get("lastModified") != Some(&before.saved_at.into())
        {
            return Ok(Err(Problem::error(
                "stale-pipeline",
                "$.lastModified",
                "The submitted pipeline is stale: somebody saved it since.",
            )
            .with_hint("read it again, and make your change there")));
        }
        let id = before
            .as_ref()
            .map(|before| before.id.clone())
            .or_else(|| field("id").map(str::to_owned))
            .unwrap_or_else(|| derived_id(application, name));
        let mut config = given.clone();
        config.insert("id".to_owned(), id.as_str().into());
        config.insert("application".to_owned(), application.into());
        Ok(Ok(Draft {
            application: application.to_owned(),
            id,
            name: name.to_owned(),
            config: Value::Object(config),
            before,
        }))
    }

    async fn write(
        &self,
        draft: &Draft,
        compiled: Compiled,
        author: Option<String>,
        now: i64,
    ) -> Result<Value, FunctionError> {
        let before = draft.before.as_ref();
        let indexed = match self.indexed(draft, before, now) {
            Ok(indexed) => indexed,
            Err(problems) => return Ok(refused(&problems)),
        };
        let mut warnings = compiled.warnings;
        warnings.extend(indexed.problems);
        let entries = indexed.entries;
        let wanted = names_of(&indexed.schedules);
        let name = machine::name(&self.prefix, &draft.id);
        let machine = machine::arn(&self.home, &name);
        let definition_hash = sha256(&compiled.definition_text);
        let current = before.filter(|before| !before.deleted);
        let mut pipeline = Pipeline {
            application: draft.application.clone(),
            id: draft.id.clone(),
            name: draft.name.clone(),
            revision: before.map_or(0, |before| before.revision),
            plan_hash: compiled.plan_hash,
            machine: machine.clone(),
            state_machine: current.map_or_else(String::new, |before| before.state_machine.clone()),
            definition_hash,
            config_hash: config_hash(&draft.config),
            disabled: index::is_true(draft.config.get("disabled")),
            deleted: false,
            triggers: TriggerEntry::keys_of(&entries),
            schedules: before.map_or_else(Vec::new, |before| before.schedules.clone()),
            author: current.and_then(|before| before.author.clone()),
            saved_at: current.map_or(now, |before| before.saved_at),
        };
        if current == Some(&pipeline) {
            self.drop_schedules(&pipeline, &wanted, now).await?;
            return Ok(answer(&pipeline, &warnings));
        }
        self.store.put_plan(&compiled.plan).await?;
        let same_definition = current.is_some_and(|before| {
            before.definition_hash == pipeline.definition_hash && before.machine == machine
        });
        if !same_definition {
            pipeline.state_machine = machine::publish(
                &self.store,
                self.step_functions.as_ref(),
                &machine,
                &compiled.definition_text,
                &self.role,
                now,
            )
            .await?;
        }
        // Before the entries are there: until then, what a schedule fires finds nothing.
        for schedule in &indexed.schedules {
            if !pipeline.schedules.contains(&schedule.name) {
                self.scheduler.put(schedule, now).await?;
                pipeline.schedules.push(schedule.name.clone());
            }
        }
        pipeline.schedules.sort();
        pipeline.revision = pipeline.revision.saturating_add(1);
        pipeline.author = author;
        pipeline.saved_at = now;
        let old = match current {
            Some(before) => self.store.revision(&before.id, before.revision).await?,
            None => None,
        };
        let revision = Revision {
            number: pipeline.revision,
            summary: summary(old.as_ref().map(|old| &old.config), &draft.config),
            config: draft.config.clone(),
            plan_hash: pipeline.plan_hash.clone(),
            author: pipeline.author.clone(),
            saved_at: now,
        };
        let saved = self
            .store
            .save_pipeline(before, &pipeline, &revision, &entries)
            .await?;
        if saved == SaveAnswer::Changed {
            return Err(CloudError::Conflict.into());
        }
        if let Some(problem) = taken(saved, &pipeline) {
            let known = before.map_or(&[][..], |before| &before.schedules);
            for name in pipeline
                .schedules
                .iter()
                .filter(|name| !known.contains(name))
            {
                self.scheduler.delete(name, now).await?;
            }
            return Ok(refused(&[problem]));
        }
        tracing::info!(
            application = pipeline.application,
            pipeline = pipeline.name,
            revision = pipeline.revision,
            "pipeline saved"
        );
        self.drop_schedules(&pipeline, &wanted, now).await?;
        let deleted =
            machine::delete_unused_versions(&self.store, self.step_functions.as_ref(), &pipeline)
                .await;
        if let Err(error) = deleted {
            tracing::warn!(pipeline = pipeline.id, reason = %error, "old versions are left to the next save");
        }
        Ok(answer(&pipeline, &warnings))
    }

    /// What the draft's triggers need, or why it cannot be saved.
    fn indexed(
        &self,
        draft: &Draft,
        before: Option<&Pipeline>,
        now: i64,
    ) -> Result<Indexed, Vec<Problem>> {
        let indexed = index::indexed(
            &draft.application,
            &draft.id,
            &draft.config,
            &self.home,
            &self.cron,
            now,
        );
        let is_error = |problem: &Problem| problem.severity == Severity::Error;
        if indexed.problems.iter().any(is_error) {
            return Err(indexed.problems);
        }
        let kept = TriggerEntry::keys_of(&indexed.entries);
        let removed = before.map_or(0, |before| {
            let gone = |known: &&(String, String)| !kept.contains(known);
            before.triggers.iter().filter(gone).count()
        });
        let writes = indexed.entries.len() + removed;
        if writes > MAX_TRIGGER_WRITES {
            return Err(vec![
                Problem::error(
                    "too-many-triggers",
                    "$.triggers",
                    format!(
                        "{writes} triggers would change at once, and {MAX_TRIGGER_WRITES} are possible"
                    ),
                )
                .with_hint("disable some and save twice"),
            ]);
        }
        Ok(indexed)
    }

    /// Removes the schedules that the pipeline had and no longer wants. Their entries are gone already, so that what they
    /// fire meanwhile starts nothing.
    async fn drop_schedules(
        &self,
        pipeline: &Pipeline,
        wanted: &[String],
        now: i64,
    ) -> Result<(), CloudError> {
        if pipeline.schedules == wanted {
            return Ok(());
        }
        for name in pipeline
            .schedules
            .iter()
            .filter(|name| !wanted.contains(name))
        {
            self.scheduler.delete(name, now).await?;
        }
        // Somebody saved it meanwhile: what may exist is named in the record that they wrote.
        self.store.settle_schedules(pipeline, wanted).await?;
        Ok(())
    }

    /// Deletes a pipeline: its schedules, its machine, then its record. What runs, runs on.
    async fn delete(&self, request: &Value, now: i64) -> Result<Value, FunctionError> {
        let need = |name: &str| {
            request
                .get(name)
                .and_then(Value::as_str)
                .ok_or_else(|| FunctionError::Invalid(format!("`delete` has no `{name}`")))
        };
        let (application, pipeline) = (need("application")?, need("pipeline")?);
        let Some(found) = self.store.find_pipeline(application, pipeline).await? else {
            return Ok(refused(&[Problem::error(
                "unknown-pipeline",
                "$.delete.pipeline",
                format!("pipeline `{pipeline}` not found in application `{application}`"),
            )]));
        };
        // The record last: a request that died in between still finds the record by its name.
        for name in &found.schedules {
            self.scheduler.delete(name, now).await?;
        }
        self.step_functions.delete_machine(&found.machine).await?;
        if !self.store.delete_pipeline(&found).await? {
            return Err(CloudError::Conflict.into());
        }
        Ok(json!({ "deleted": found.id }))
    }
}

/// Why a pipeline cannot have its name or its id.
fn taken(saved: SaveAnswer, pipeline: &Pipeline) -> Option<Problem> {
    match saved {
        SaveAnswer::Saved | SaveAnswer::Changed => None,
        SaveAnswer::NameTaken => {
            let message = format!(
                "application `{}` has another pipeline named `{}`",
                pipeline.application, pipeline.name
            );
            Some(
                Problem::error("duplicate-name", "$.name", message).with_hint(
                    "names are unique whatever their case; leave out `id` to save over it",
                ),
            )
        }
        SaveAnswer::IdTaken => {
            let message = format!(
                "a pipeline of another application has the id `{}`",
                pipeline.id
            );
            Some(
                Problem::error("duplicate-id", "$.id", message)
                    .with_hint("leave `id` out to get a new one"),
            )
        }
    }
}

/// Names of schedules, in order.
fn names_of(schedules: &[Schedule]) -> Vec<String> {
    let mut names: Vec<String> = schedules.iter().map(|one| one.name.clone()).collect();
    names.sort();
    names
}

fn answer(pipeline: &Pipeline, warnings: &[Problem]) -> Value {
    json!({
        "id": pipeline.id,
        "application": pipeline.application,
        "name": pipeline.name,
        "revision": pipeline.revision,
        "planHash": pipeline.plan_hash,
        "stateMachine": pipeline.state_machine,
        "warnings": warnings,
    })
}

#[async_trait]
impl Function for SavePipeline {
    async fn handle(&self, event: Value, now: i64) -> Result<Value, FunctionError> {
        self.save(&event, now).await
    }
}
