//! Calls to services of AWS whose SDK crates weigh more than a whole function: one signed request each.

use std::time::Duration;

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Connection};
use serde_json::Value;

use crate::aws::{self, is_region};
use crate::{Http, HttpClient, HttpError, Limits, Method, Request, signed};

/// One call to a service.
#[derive(Clone, Debug)]
pub struct SignedCall<'a> {
    /// Name of the service in hosts and signatures, such as `ssm`.
    pub service: &'static str,
    /// First part of the endpoint's name where it is not the service's: `email` of SES.
    pub host: Option<&'static str>,
    /// Service and operation as IAM writes it.
    pub operation: &'static str,
    /// Another region than the connection's.
    pub region: Option<&'a str>,
    /// What the call is about, for errors.
    pub resource: &'a str,
    /// Method.
    pub method: Method,
    /// Path and query, encoded, without the first slash.
    pub path: String,
    /// Value of `x-amz-target` and the version of the JSON protocol; none for REST.
    pub target: Option<(&'static str, &'static str)>,
    /// Body; null is none.
    pub body: Value,
}

impl<'a> SignedCall<'a> {
    /// A call of the JSON 1.1 protocol: a POST to `/` whose header names the operation.
    #[must_use]
    pub fn json(
        service: &'static str,
        operation: &'static str,
        target: &'static str,
        resource: &'a str,
        body: &Value,
    ) -> Self {
        Self {
            service,
            host: None,
            operation,
            region: None,
            resource,
            method: Method::Post,
            path: String::new(),
            target: Some((target, "1.1")),
            body: body.clone(),
        }
    }

    /// A call of the REST protocol.
    #[must_use]
    pub fn rest(
        service: &'static str,
        operation: &'static str,
        method: Method,
        path: String,
        resource: &'a str,
        body: Value,
    ) -> Self {
        Self {
            service,
            host: None,
            operation,
            region: None,
            resource,
            method,
            path,
            target: None,
            body,
        }
    }
}

/// AWS services that are called without an SDK.
#[async_trait]
pub trait Aws: Send + Sync {
    /// Sends one call, signed as of `now` (UTC milliseconds); the answer's JSON, null if it has none. One try: whoever
    /// calls knows whether a second one does harm. (the call's own operation)
    ///
    /// # Errors
    /// [`CloudError`], as the SDK's clients give it.
    async fn send(&self, call: &SignedCall<'_>, now: i64) -> Result<Value, CloudError>;
}

/// Sends signed calls with the connection's credentials, region and endpoint.
#[derive(Debug)]
pub struct SignedCalls {
    connection: Connection,
    http: HttpClient,
}

impl SignedCalls {
    /// On a connection. Makes no call.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            http: HttpClient::to_anywhere(),
        }
    }

    /// The region that calls go to.
    #[must_use]
    pub fn region(&self) -> Option<String> {
        aws::region(&self.connection, None)
    }

    fn request(&self, call: &SignedCall<'_>, region: &str) -> Request {
        let host = call.host.unwrap_or(call.service);
        let base = aws::endpoint(&self.connection, host, region);
        let request = Request::new(call.method, format!("{base}/{}", call.path));
        let request = match call.target {
            Some((target, version)) => request
                .header("content-type", format!("application/x-amz-json-{version}"))
                .header("x-amz-target", target),
            None => request.header("content-type", "application/json"),
        };
        if call.body.is_null() {
            request
        } else {
            request.body(call.body.to_string())
        }
    }
}

#[async_trait]
impl Aws for SignedCalls {
    async fn send(&self, call: &SignedCall<'_>, now: i64) -> Result<Value, CloudError> {
        let no_answer = |message: String| CloudError::NoAnswer {
            operation: call.operation.to_owned(),
            resource: call.resource.to_owned(),
            message,
        };
        let region = aws::region(&self.connection, call.region)
            .ok_or_else(|| no_answer("no region is set".to_owned()))?;
        if !is_region(&region) {
            return Err(CloudError::Unreadable {
                what: call.resource.to_owned(),
                message: "its region is none".to_owned(),
            });
        }
        let request = self.request(call, &region);
        let request = signed(request, &self.connection, call.service, &region, now)
            .await
            .map_err(|error| no_answer(error.to_string()))?;
        let limits = Limits {
            total: Duration::from_secs(10),
            connect: Duration::from_secs(3),
            redirects: 0,
            ..Limits::default()
        };
        let answer = self
            .http
            .send(&request, &limits)
            .await
            .map_err(|error: HttpError| no_answer(error.to_string()))?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        if answer.is_success() {
            return Ok(value);
        }
        let code = error_code(&value, answer.header("x-amzn-errortype"));
        let request_id = answer.header("x-amzn-requestid");
        Err(refusal(call, answer.status, &value, &code, request_id))
    }
}

/// The error's code: of the JSON protocols in the body (`com.amazon.coral.service#ThrottlingException`), of REST in a
/// header (`ConflictException:http://…`).
fn error_code(value: &Value, header: Option<&str>) -> String {
    let named = value.get("__type").and_then(Value::as_str);
    let text = named.or(header).unwrap_or_default();
    let code = text.rsplit('#').next().unwrap_or_default();
    code.split(':').next().unwrap_or_default().to_owned()
}

fn refusal(
    call: &SignedCall<'_>,
    status: u16,
    value: &Value,
    code: &str,
    request_id: Option<&str>,
) -> CloudError {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let message = match text("message") {
        "" => text("Message"),
        message => message,
    };
    if code.contains("Throttl") || code.starts_with("TooMany") || status == 429 {
        return CloudError::Throttled {
            operation: call.operation.to_owned(),
            message: message.to_owned(),
        };
    }
    if status >= 500 {
        return CloudError::NoAnswer {
            operation: call.operation.to_owned(),
            resource: call.resource.to_owned(),
            message: format!("status {status}: {message}"),
        };
    }
    CloudError::Refused {
        operation: call.operation.to_owned(),
        resource: call.resource.to_owned(),
        code: if code.is_empty() {
            status.to_string()
        } else {
            code.to_owned()
        },
        message: message.to_owned(),
        request_id: request_id.unwrap_or("unknown").to_owned(),
    }
}
