//! Asking the metric stores: CloudWatch by its port, the others over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gennaker_cloud::metrics::{CloudWatch, Metrics};
use gennaker_cloud::{CloudError, Connection};
use gennaker_http::{
    AwsSecrets, Http, HttpClient, HttpError, Limits, Method, Request, SecretReference, Secrets,
    signed,
};
use gennaker_metrics::{
    Account, Credentials, MetricsError, Scope, Series, Source, cloudwatch, source,
};
use serde_json::Value;
use tokio::sync::Semaphore;

/// Bytes of an answer: a day of seconds for a dozen series, some two million points.
pub const MAX_ANSWER: usize = 32 * 1024 * 1024;
/// Answers that are read at the same time: with what becomes of them, half of the function's memory.
const ANSWERS_AT_ONCE: usize = 8;
/// Time of one exchange.
const PATIENCE: Duration = Duration::from_secs(40);
/// Characters of a query or an answer that an error shows.
const SHOWN: usize = 200;

/// A metrics account: which store, where, and how to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsAccount {
    /// Its name, `metricsAccountName` of a stage.
    pub name: String,
    /// Kind of store.
    pub source: Source,
    /// Address that paths are appended to, without a `/` at its end.
    pub endpoint: String,
    /// Region of Amazon Managed Prometheus: requests are signed.
    pub region: Option<String>,
    /// What queries need to know.
    pub fields: Account,
    /// Where the credentials are.
    pub credentials: BTreeMap<String, SecretReference>,
}

/// Why a metric could not be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// The configuration or the metrics account cannot work.
    #[error("{field}: {message}")]
    Configuration {
        /// Field of the query or of the account.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// The store did not answer, or not with metrics. Passing errors may be tried again.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

impl From<MetricsError> for FetchError {
    fn from(error: MetricsError) -> Self {
        match error {
            MetricsError::Query { field, reason } => Self::Configuration {
                field,
                message: reason,
            },
            MetricsError::Answer {
                source_name,
                reason,
            } => Self::Cloud(CloudError::Unreadable {
                what: format!("the answer of {source_name}"),
                message: reason,
            }),
            MetricsError::Mix(reason) => Self::Configuration {
                field: "query".to_owned(),
                message: reason,
            },
        }
    }
}

impl FetchError {
    /// The same, with the metric that was asked for.
    #[must_use]
    pub fn about(self, metric: &str) -> Self {
        let named = |text: String| format!("{text} (metric `{metric}`)");
        Self::Cloud(match self {
            Self::Configuration { field, message } => {
                return Self::Configuration {
                    field: format!("metrics[{metric}].query.{field}"),
                    message,
                };
            }
            Self::Cloud(CloudError::Unreadable { what, message }) => CloudError::Unreadable {
                what,
                message: named(message),
            },
            Self::Cloud(CloudError::Throttled { operation, message }) => CloudError::Throttled {
                operation,
                message: named(message),
            },
            Self::Cloud(CloudError::NoAnswer {
                operation,
                resource,
                message,
            }) => CloudError::NoAnswer {
                operation,
                resource,
                message: named(message),
            },
            Self::Cloud(CloudError::Refused {
                operation,
                resource,
                code,
                message,
                request_id,
            }) => CloudError::Refused {
                operation,
                resource,
                code,
                message: named(message),
                request_id,
            },
            Self::Cloud(error) => error,
        })
    }
}

fn wrong(field: impl Into<String>, message: impl Into<String>) -> FetchError {
    FetchError::Configuration {
        field: field.into(),
        message: message.into(),
    }
}

impl MetricsAccount {
    /// Reads `{"type", "endpoint", "region", "scopeLabel", "defaultScopeKey", "defaultLocationKey", "credentials": {"apiKey":
    /// "ssm:…"}}`.
    ///
    /// # Errors
    /// An unknown store, a missing endpoint, a credential that is missing or is not a reference.
    pub fn parse(name: &str, value: &Value) -> Result<Self, FetchError> {
        let text = |field: &str| {
            value
                .get(field)
                .and_then(Value::as_str)
                .filter(|text| !text.trim().is_empty())
                .map(str::to_owned)
        };
        let source = Source::of(value)?;
        let endpoint = text("endpoint")
            .or_else(|| source.default_endpoint().map(str::to_owned))
            .or_else(|| (source == Source::CloudWatch).then(String::new))
            .ok_or_else(|| {
                wrong(
                    "endpoint",
                    format!(
                        "metrics account `{name}` has none, and {} has none for everybody",
                        source.as_str()
                    ),
                )
            })?;
        let mut credentials = BTreeMap::new();
        let given = value.get("credentials").and_then(Value::as_object);
        for (field, reference) in given.into_iter().flatten() {
            let path = format!("credentials.{field}");
            let reference = reference
                .as_str()
                .map(SecretReference::parse)
                .transpose()
                .map_err(|error| wrong(&path, error.reason))?
                .flatten()
                .ok_or_else(|| {
                    wrong(
                        &path,
                        "is not a reference such as ssm:NAME or secretsmanager:NAME:KEY",
                    )
                })?;
            credentials.insert(field.clone(), reference);
        }
        if let Some(missing) = source
            .credentials()
            .iter()
            .find(|field| !credentials.contains_key(**field))
        {
            return Err(wrong(
                format!("credentials.{missing}"),
                format!("metrics account `{name}` has no such credential"),
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            source,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            region: text("region"),
            fields: Account {
                scope_label: text("scopeLabel"),
                default_scope_key: text("defaultScopeKey"),
                default_location_key: text("defaultLocationKey"),
            },
            credentials,
        })
    }
}

/// The metric stores.
pub struct Stores {
    cloudwatch: Arc<dyn Metrics>,
    http: Arc<dyn Http>,
    secrets: Arc<dyn Secrets>,
    /// Signs for Amazon Managed Prometheus; none where nothing is signed.
    connection: Option<Connection>,
    room: Semaphore,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stores")
    }
}

impl Stores {
    /// With the connection's credentials, and this way out to the internet. Makes no call.
    #[must_use]
    pub fn connect(connection: &Connection, http: HttpClient) -> Self {
        Self {
            cloudwatch: Arc::new(CloudWatch::new(connection)),
            http: Arc::new(http),
            secrets: Arc::new(AwsSecrets::new(connection)),
            connection: Some(connection.clone()),
            room: Semaphore::new(ANSWERS_AT_ONCE),
        }
    }

    /// On any stores.
    #[must_use]
    pub fn new(
        cloudwatch: Arc<dyn Metrics>,
        http: Arc<dyn Http>,
        secrets: Arc<dyn Secrets>,
    ) -> Self {
        Self {
            cloudwatch,
            http,
            secrets,
            connection: None,
            room: Semaphore::new(ANSWERS_AT_ONCE),
        }
    }

    /// The series of one metric for one side of a canary.
    ///
    /// `templates` are the configuration's, `query` the metric's; `account` is needed for every store but CloudWatch.
    ///
    /// # Errors
    /// [`FetchError`]; an answer other than 200 is never data.
    pub async fn series(
        &self,
        templates: &Value,
        query: &Value,
        scope: &Scope,
        account: Option<&MetricsAccount>,
        now: i64,
    ) -> Result<Vec<Series>, FetchError> {
        let source = Source::of(query)?;
        if source == Source::CloudWatch {
            let queries = cloudwatch::queries(templates, query, scope)?;
            return Ok(self.cloudwatch.series(&queries, scope).await?);
        }
        let account = account
            .filter(|account| account.source == source)
            .ok_or_else(|| {
                wrong(
                    "metricsAccountName",
                    match account {
                        None => format!("a metrics account of type {} is needed", source.as_str()),
                        Some(other) => format!(
                            "metrics account `{}` is of type {}, the metric of type {}",
                            other.name,
                            other.source.as_str(),
                            source.as_str()
                        ),
                    },
                )
            })?;
        let text = source::query_text(source, templates, query, scope, &account.fields)?;
        let mut values = BTreeMap::new();
        for (name, reference) in &account.credentials {
            let secret = self.secrets.secret(reference, now).await?;
            values.insert(name.clone(), secret.expose().to_owned());
        }
        let made = source::request(source, &text, scope, &Credentials::new(values))?;
        let request = self.outgoing(account, &made, now).await?;
        let limits = Limits {
            total: PATIENCE,
            response_bytes: MAX_ANSWER,
            ..Limits::default()
        };
        let asked = Asked {
            source,
            query: &text,
            endpoint: &account.endpoint,
        };
        // Held until the answer has become series. Nobody closes it.
        let _room = self.room.acquire().await.ok();
        let answer = self
            .http
            .send(&request, &limits)
            .await
            .map_err(|error| asked.unanswered(&error))?;
        let body = String::from_utf8(answer.body)
            .unwrap_or_else(|bytes| String::from_utf8_lossy(bytes.as_bytes()).into_owned());
        if !(200..300).contains(&answer.status) {
            return Err(asked.refused(answer.status, &body).into());
        }
        source::parse(source, query, &body, scope).map_err(|error| match error {
            MetricsError::Answer { reason, .. } => asked.unreadable(reason).into(),
            error => error.into(),
        })
    }

    async fn outgoing(
        &self,
        account: &MetricsAccount,
        made: &source::Request,
        now: i64,
    ) -> Result<Request, FetchError> {
        let mut url = url::Url::parse(&format!("{}{}", account.endpoint, made.path))
            .map_err(|error| wrong("endpoint", error.to_string()))?;
        if !made.parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(&made.parameters);
        }
        // `+` for a space is a form's; a signature counts it as a plus.
        let address = url.as_str().replace('+', "%20");
        let method = match made.method {
            source::Method::Get => Method::Get,
            source::Method::Post => Method::Post,
        };
        let mut request = Request::new(method, address);
        for (name, value) in &made.headers {
            request = request.header(*name, value.as_str());
        }
        if let Some(body) = &made.body {
            request = request.body(body.as_str());
        }
        match (&account.region, &self.connection) {
            (Some(region), Some(connection)) => signed(request, connection, "aps", region, now)
                .await
                .map_err(|error| {
                    CloudError::NoAnswer {
                        operation: "aps:QueryMetrics".to_owned(),
                        resource: account.endpoint.clone(),
                        message: error.to_string(),
                    }
                    .into()
                }),
            _ => Ok(request),
        }
    }
}

/// One query as it is asked, for errors.
struct Asked<'a> {
    source: Source,
    query: &'a str,
    endpoint: &'a str,
}

impl Asked<'_> {
    fn operation(&self) -> String {
        format!("{}:query", self.source.as_str())
    }

    fn resource(&self) -> String {
        format!("{} of {}", beginning(self.query), self.endpoint)
    }

    fn unreadable(&self, message: String) -> CloudError {
        CloudError::Unreadable {
            what: format!(
                "the answer of {} to {}",
                self.source.as_str(),
                self.resource()
            ),
            message,
        }
    }

    fn unanswered(&self, error: &HttpError) -> FetchError {
        match error {
            HttpError::TooLarge { .. } => self
                .unreadable(format!("{error}; take a longer step or fewer series"))
                .into(),
            error if error.is_passing() => CloudError::NoAnswer {
                operation: self.operation(),
                resource: self.resource(),
                message: error.to_string(),
            }
            .into(),
            error => wrong("endpoint", error.to_string()),
        }
    }

    fn refused(&self, status: u16, body: &str) -> CloudError {
        let operation = self.operation();
        match status {
            429 => CloudError::Throttled {
                operation,
                message: format!("429 to {}", self.resource()),
            },
            500..=599 => CloudError::NoAnswer {
                operation,
                resource: self.resource(),
                message: format!("status {status}: {}", beginning(body)),
            },
            status => CloudError::Refused {
                operation,
                resource: self.resource(),
                code: status.to_string(),
                message: beginning(body),
                request_id: "unknown".to_owned(),
            },
        }
    }
}

fn beginning(text: &str) -> String {
    text.chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
