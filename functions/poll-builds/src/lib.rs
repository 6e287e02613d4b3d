#![doc = include_str!("../README.md")]

pub mod build;
pub mod fresh;
mod images;
pub mod registry;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::store::builds::{BuildMaster, BuildService};
use gennaker_cloud::{CloudError, Functions, Store};
use gennaker_http::{AwsSecrets, Http, HttpError, Limits, Request, SecretReference, Secrets};
use gennaker_lambda::{Connection, Function, FunctionError, internet, metric};
use gennaker_triggers::event::Event;
use gennaker_triggers::index::event_keys;
use serde_json::{Value, json};
use url::form_urlencoded;

use build::Build;
use fresh::fresh;
use registry::Registry;

/// What one answer of a master may be.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(20),
    connect: Duration::from_secs(5),
    response_bytes: 16 * 1024 * 1024,
    redirects: 5,
};

/// Why a master could not be polled.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// A call to AWS failed.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The master gave no answer.
    #[error("it gave no answer: {0}")]
    Http(#[from] HttpError),
    /// The master refused.
    #[error("it answered {0}")]
    Status(u16),
    /// The answer is no JSON.
    #[error("its answer is no JSON")]
    NoJson,
    /// An address of it, or that it names, is none of its own.
    #[error("its address, or one that it names, is none of its own")]
    Address,
    /// A repository's name is none.
    #[error("the name of a repository is none, such as `shop/api`")]
    Repository,
    /// There are more tags than are kept.
    #[error("a repository has more than {} tags", registry::MOST_TAGS)]
    TooManyTags,
    /// The token is no reference.
    #[error("its token is no reference such as `ssm:/gennaker/ci-token`")]
    NoReference,
}

/// Asks build services for builds that ended, and registries for new tags.
pub struct PollBuilds {
    store: Store,
    http: Arc<dyn Http>,
    secrets: Arc<dyn Secrets>,
    functions: Arc<dyn Functions>,
    prefix: String,
}

impl PollBuilds {
    /// On a store, a way out, secrets and the functions of an installation.
    pub fn new(
        store: Store,
        http: Arc<dyn Http>,
        secrets: Arc<dyn Secrets>,
        functions: Arc<dyn Functions>,
        prefix: impl Into<String>,
    ) -> Self {
        Self {
            store,
            http,
            secrets,
            functions,
            prefix: prefix.into(),
        }
    }

    /// On AWS, with the settings of this process.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let table = DynamoDb::new(connection, gennaker_lambda::table_name());
        Self::new(
            Store::new(Arc::new(table)),
            Arc::new(internet()),
            Arc::new(AwsSecrets::new(connection)),
            Arc::new(AwsFunctions::new(connection)),
            gennaker_lambda::prefix(),
        )
    }

    /// Looks at every master once, all at the same time. One that fails is logged and counted, and asked again by the
    /// next call.
    ///
    /// # Errors
    /// Those of the table, where the masters themselves cannot be read.
    pub async fn poll(&self, now: i64) -> Result<Value, FunctionError> {
        let masters = self.store.build_masters().await?;
        let looks = masters.iter().map(|master| self.look(master, now));
        let mut polled = BTreeMap::new();
        let mut failed = BTreeMap::new();
        for (master, look) in masters.iter().zip(join_all(looks).await) {
            match look {
                Ok(handed) => {
                    polled.insert(master.name.clone(), handed);
                }
                Err(error) => {
                    tracing::error!(master = master.name, reason = %error, "could not be polled");
                    metric::count("BuildPollFailures", &[("Master", &master.name)], now);
                    failed.insert(master.name.clone(), error.to_string());
                }
            }
        }
        Ok(json!({ "polled": polled, "failed": failed }))
    }

    /// Hands what is new at a master since the last look to `trigger`; how many.
    async fn look(&self, master: &BuildMaster, now: i64) -> Result<usize, PollError> {
        let token = self.token(master, now).await?;
        if master.service != BuildService::Docker {
            return self.look_at_builds(master, token, now).await;
        }
        let user = master.user.as_deref().unwrap_or_default();
        let credentials = token.map(|password| format!("{user}:{password}"));
        let http = self.http.as_ref();
        let mut registry = Registry::new(http, LIMITS, &master.address, credentials)?;
        self.look_at_images(master, &mut registry, now).await
    }

    /// Hands the builds of a master that ended since the last look to `trigger`; how many.
    async fn look_at_builds(
        &self,
        master: &BuildMaster,
        token: Option<String>,
        now: i64,
    ) -> Result<usize, PollError> {
        let builds = self.builds(master, token).await?;
        let marks = self.store.build_marks(&master.name).await?;
        let mut jobs: BTreeMap<&str, Vec<&Build>> = BTreeMap::new();
        for build in &builds {
            jobs.entry(&build.job).or_default().push(build);
        }
        let mut handed = 0;
        for (job, builds) in jobs {
            let before = marks.get(job);
            let (found, after) = fresh(&builds, before, now);
            for build in found {
                let event = build.event(&master.name, &master.service);
                handed += usize::from(self.hand_over(event, build.at).await?);
            }
            // Afterwards: what is handed over twice starts nothing twice, what is marked before is lost by a crash.
            if before != Some(&after) {
                self.store
                    .move_build_mark(&master.name, job, before, &after)
                    .await?;
            }
        }
        Ok(handed)
    }

    /// Hands an event to `trigger`, if a trigger could hear it.
    async fn hand_over(&self, event: Value, at: i64) -> Result<bool, CloudError> {
        let keys = Event::read(&event).map(|event| event_keys(&event));
        for key in keys.unwrap_or_default() {
            if !self.store.triggers(&key).await?.is_empty() {
                let payload = json!({ "event": event, "at": at });
                self.functions
                    .invoke_later(&function_name(&self.prefix, "trigger"), &payload)
                    .await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn builds(
        &self,
        master: &BuildMaster,
        token: Option<String>,
    ) -> Result<Vec<Build>, PollError> {
        let address = master.address.trim_end_matches('/');
        let (request, read): (Request, fn(&Value) -> Vec<Build>) = match master.service {
            BuildService::Jenkins => {
                let query = form_urlencoded::Serializer::new(String::new())
                    .append_pair("tree", &build::jenkins_tree())
                    .finish();
                let request = Request::get(format!("{address}/api/json?{query}"));
                let request = match token {
                    Some(token) => {
                        let user = master.user.as_deref().unwrap_or_default();
                        let pair = STANDARD.encode(format!("{user}:{token}"));
                        request.header("authorization", format!("Basic {pair}"))
                    }
                    None => request,
                };
                (request, build::jenkins)
            }
            BuildService::Travis => {
                let request = Request::get(format!(
                    "{address}/builds?limit=100&sort_by=finished_at:desc"
                ))
                .header("travis-api-version", "3");
                let request = match token {
                    Some(token) => request.header("authorization", format!("token {token}")),
                    None => request,
                };
                (request, build::travis)
            }
            // It has tags, and no builds.
            BuildService::Docker => return Ok(Vec::new()),
        };
        let request = request.header("accept", "application/json");
        let answer = self.http.send(&request, &LIMITS).await?;
        if !answer.is_success() {
            return Err(PollError::Status(answer.status));
        }
        let answer: Value = serde_json::from_slice(&answer.body).map_err(|_| PollError::NoJson)?;
        Ok(read(&answer))
    }

    async fn token(&self, master: &BuildMaster, now: i64) -> Result<Option<String>, PollError> {
        let Some(token) = &master.token else {
            return Ok(None);
        };
        let reference = SecretReference::parse(token)
            .ok()
            .flatten()
            .ok_or(PollError::NoReference)?;
        let secret = self.secrets.secret(&reference, now).await?;
        Ok(Some(secret.expose().to_owned()))
    }
}

#[async_trait]
impl Function for PollBuilds {
    async fn handle(&self, _event: Value, now: i64) -> Result<Value, FunctionError> {
        self.poll(now).await
    }
}
