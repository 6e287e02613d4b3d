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

/// Bytes of an answer: a day of seconds for a dozen series.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

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
        let operation = format!("{}:query", source.as_str());
        let limits = Limits {
            total: Duration::from_secs(50),
            response_bytes: MAX_ANSWER,
            ..Limits::default()
        };
        let answer = self
            .http
            .send(&request, &limits)
            .await
            .map_err(|error| unanswered(&operation, &account.endpoint, error))?;
        let body = answer.text();
        match answer.status {
            200..=299 => Ok(source::parse(source, query, &body, scope)?),
            429 => Err(CloudError::Throttled {
                operation,
                message: format!("{} answered 429", account.endpoint),
            }
            .into()),
            500..=599 => Err(CloudError::NoAnswer {
                operation,
                resource: account.endpoint.clone(),
                message: format!("status {}: {}", answer.status, beginning(&body)),
            }
            .into()),
            status => Err(CloudError::Refused {
                operation,
                resource: account.endpoint.clone(),
                code: status.to_string(),
                message: beginning(&body),
                request_id: "unknown".to_owned(),
            }
            .into()),
        }
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

fn unanswered(operation: &str, endpoint: &str, error: HttpError) -> FetchError {
    if error.is_passing() {
        CloudError::NoAnswer {
            operation: operation.to_owned(),
            resource: endpoint.to_owned(),
            message: error.to_string(),
        }
        .into()
    } else {
        wrong("endpoint", error.to_string())
    }
}

fn beginning(body: &str) -> String {
    body.chars()
        .take(200)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
