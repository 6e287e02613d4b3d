//! The stores that are asked over HTTP. CloudWatch is asked through its SDK: see [`crate::cloudwatch`].

mod answer;
mod datadog;
mod graphite;
mod newrelic;
mod prometheus;
mod signalfx;

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::{MetricsError, Scope, Series};

/// A kind of metric store, as `query.type` of a metric names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Amazon CloudWatch.
    CloudWatch,
    /// Prometheus and Amazon Managed Prometheus.
    Prometheus,
    /// Datadog.
    Datadog,
    /// New Relic.
    NewRelic,
    /// SignalFx (Splunk Observability).
    SignalFx,
    /// Graphite.
    Graphite,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 6] = [
        Self::CloudWatch,
        Self::Prometheus,
        Self::Datadog,
        Self::NewRelic,
        Self::SignalFx,
        Self::Graphite,
    ];

    /// As configurations write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CloudWatch => "cloudwatch",
            Self::Prometheus => "prometheus",
            Self::Datadog => "datadog",
            Self::NewRelic => "newrelic",
            Self::SignalFx => "signalfx",
            Self::Graphite => "graphite",
        }
    }

    /// The source of a metric's query: `type`, or `serviceType`; CloudWatch if there is neither.
    ///
    /// # Errors
    /// A store that is not served, with those that are.
    pub fn of(query: &Value) -> Result<Self, MetricsError> {
        let name = ["type", "serviceType"]
            .iter()
            .find_map(|field| query.get(field).and_then(Value::as_str))
            .unwrap_or("cloudwatch");
        Self::ALL
            .into_iter()
            .find(|source| source.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.iter().map(|source| source.as_str()).collect();
                MetricsError::query(
                    "type",
                    format!(
                        "metric source `{name}` is not served; there are {}",
                        names.join(", ")
                    ),
                )
            })
    }

    /// The endpoint where the store has one for everybody.
    #[must_use]
    pub fn default_endpoint(self) -> Option<&'static str> {
        match self {
            Self::Datadog => Some("https://api.datadoghq.com"),
            Self::NewRelic => Some("https://insights-api.newrelic.com"),
            Self::SignalFx => Some("https://stream.signalfx.com"),
            Self::CloudWatch | Self::Prometheus | Self::Graphite => None,
        }
    }

    /// Names of the credentials that a request needs.
    #[must_use]
    pub fn credentials(self) -> &'static [&'static str] {
        match self {
            Self::CloudWatch | Self::Prometheus | Self::Graphite => &[],
            Self::Datadog | Self::NewRelic => &["apiKey", "applicationKey"],
            Self::SignalFx => &["accessToken"],
        }
    }
}

/// What a metrics account says about its store, beside endpoint and credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Label that holds the scope in Prometheus' default queries. Default: `instance`.
    pub scope_label: Option<String>,
    /// Key of the scope in New Relic and SignalFx, unless the scope has `_scope_key`.
    pub default_scope_key: Option<String>,
    /// Key of the location, unless the scope has `_location_key`.
    pub default_location_key: Option<String>,
}

/// Resolved credentials by name; they do not show in `Debug`.
#[derive(Clone, Default)]
pub struct Credentials(BTreeMap<String, String>);

impl Credentials {
    /// Of these values.
    #[must_use]
    pub fn new(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }

    fn required(&self, name: &str) -> Result<&str, MetricsError> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| MetricsError::query(name, "the metrics account has no such credential"))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// With the query in the address.
    Get,
    /// With a body.
    Post,
}

/// One request, relative to the account's endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// How it is sent.
    pub method: Method,
    /// Path below the endpoint; begins with `/`, percent-encoded.
    pub path: String,
    /// Query parameters, not encoded.
    pub parameters: Vec<(&'static str, String)>,
    /// Headers; the values may be secret.
    pub headers: Vec<(&'static str, String)>,
    /// Body of a [`Method::Post`].
    pub body: Option<String>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("parameters", &self.parameters)
            .field("headers", &names)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// The text of a metric's query for one side of a canary, as the store's language has it.
///
/// `templates` are the configuration's. The same arguments give the same text.
///
/// # Errors
/// [`MetricsError::Query`] with the field; CloudWatch has no such text.
pub fn query_text(
    source: Source,
    templates: &Value,
    query: &Value,
    scope: &Scope,
    account: &Account,
) -> Result<String, MetricsError> {
    let empty = Map::new();
    let query = query.as_object().unwrap_or(&empty);
    let fields = Fields {
        templates,
        query,
        scope,
        account,
    };
    match source {
        Source::CloudWatch => Err(MetricsError::query("type", "cloudwatch has no query text")),
        Source::Prometheus => prometheus::query_text(&fields),
        Source::Datadog => datadog::query_text(&fields),
        Source::NewRelic => newrelic::query_text(&fields),
        Source::SignalFx => signalfx::query_text(&fields),
        Source::Graphite => graphite::query_text(&fields),
    }
}

/// What can be said of a metric's query before anybody knows whose metrics it asks for: whether its store is served, and
/// whether it has the fields that every such query has.
///
/// # Errors
/// [`MetricsError::Query`] with the field. Nothing is said about names that a stage's scopes may bind.
pub fn check(templates: &Value, query: &Value) -> Result<Source, MetricsError> {
    let source = Source::of(query)?;
    let keys = ["_scope_key", "_location_key", "resourceType"];
    let scope = Scope {
        scope: "canary".to_owned(),
        location: "us-east-1".to_owned(),
        start: 0,
        end: 60_000,
        step: 60,
        extended: keys.map(|key| (key.to_owned(), key.to_owned())).into(),
    };
    let made = match source {
        Source::CloudWatch => crate::cloudwatch::queries(templates, query, &scope).map(drop),
        _ => query_text(source, templates, query, &scope, &Account::default()).map(drop),
    };
    match made {
        Err(MetricsError::Query { field, reason }) if reason == MISSING => {
            Err(MetricsError::Query { field, reason })
        }
        _ => Ok(source),
    }
}

/// What is said of a field that is not there.
pub(crate) const MISSING: &str = "is missing";

/// The request that asks for `text`.
///
/// # Errors
/// [`MetricsError::Query`] with the credential that the account lacks.
pub fn request(
    source: Source,
    text: &str,
    scope: &Scope,
    credentials: &Credentials,
) -> Result<Request, MetricsError> {
    match source {
        Source::CloudWatch => Err(MetricsError::query(
            "type",
            "cloudwatch is asked by its SDK",
        )),
        Source::Prometheus => Ok(prometheus::request(text, scope, credentials)),
        Source::Datadog => datadog::request(text, scope, credentials),
        Source::NewRelic => newrelic::request(text, scope, credentials),
        Source::SignalFx => signalfx::request(text, scope, credentials),
        Source::Graphite => Ok(graphite::request(text, scope)),
    }
}

/// Reads the body of a successful answer: at least one series, an empty one if the store has no data.
///
/// # Errors
/// [`MetricsError::Answer`] for anything else than what the store documents.
pub fn parse(
    source: Source,
    query: &Value,
    body: &str,
    scope: &Scope,
) -> Result<Vec<Series>, MetricsError> {
    let found = match source {
        Source::CloudWatch => {
            return Err(MetricsError::query(
                "type",
                "cloudwatch is asked by its SDK",
            ));
        }
        Source::Prometheus => prometheus::parse(body)?,
        Source::Datadog => datadog::parse(body)?,
        Source::NewRelic => newrelic::parse(body, scope)?,
        Source::SignalFx => signalfx::parse(body, query, scope)?,
        Source::Graphite => graphite::parse(body)?,
    };
    Ok(if found.is_empty() {
        vec![scope.nothing()]
    } else {
        found
    })
}

/// What a query is made of.
struct Fields<'a> {
    templates: &'a Value,
    query: &'a Map<String, Value>,
    scope: &'a Scope,
    account: &'a Account,
}

impl<'a> Fields<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.query
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.trim().is_empty())
    }

    fn required(&self, name: &str) -> Result<&'a str, MetricsError> {
        self.text(name)
            .ok_or_else(|| MetricsError::query(name, MISSING))
    }

    fn texts(&self, name: &str) -> Result<Vec<&'a str>, MetricsError> {
        match self.query.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|value| {
                    value.as_str().ok_or_else(|| {
                        MetricsError::query(name, format!("`{value}` is not a text"))
                    })
                })
                .collect(),
            Some(other) => Err(MetricsError::query(
                name,
                format!("`{other}` is not a list"),
            )),
        }
    }

    /// The key of the scope in stores that want one.
    fn scope_key(&self) -> Result<&'a str, MetricsError> {
        self.scope
            .extended
            .get("_scope_key")
            .map(String::as_str)
            .or(self.account.default_scope_key.as_deref())
            .ok_or_else(|| {
                MetricsError::query(
                    "_scope_key",
                    "the metrics account has no default scope key, and the extended scope parameters have none",
                )
            })
    }

    fn location_key(&self) -> Option<&'a str> {
        self.scope
            .extended
            .get("_location_key")
            .map(String::as_str)
            .or(self.account.default_location_key.as_deref())
    }

    /// Extended parameters that are dimensions: those whose names do not begin with `_`.
    fn dimensions(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.scope
            .extended
            .iter()
            .filter(|(name, _)| !name.starts_with('_'))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Text of a store's string literal in these quotes: a value cannot end it.
fn quoted(value: &str, quote: char) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push(quote);
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c if c == quote || c == '\\' => {
                text.push('\\');
                text.push(c);
            }
            c => text.push(c),
        }
    }
    text.push(quote);
    text
}

/// Percent-encodes one segment of a path, or a value of a form.
fn segment(text: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    utf8_percent_encode(text, KEPT).to_string()
}

/// Seconds since the epoch, rounded down.
fn seconds(millis: i64) -> i64 {
    millis.div_euclid(1_000)
}
