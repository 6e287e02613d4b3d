//! Single calls to AWS services whose SDK crate weighs more than a whole function.

use std::time::Duration;

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Connection};
use serde_json::Value;

use crate::{Http, HttpClient, HttpError, Limits, Method, Request, signed};

/// Longest wait for one answer.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(10),
    connect: Duration::from_secs(3),
    response_bytes: 4 << 20,
    redirects: 0,
};

/// One call to one service, in JSON.
#[derive(Clone, Debug)]
pub struct AwsCall<'a> {
    /// Name that the signature is for: `ssm`, `ses`.
    pub service: &'a str,
    /// First part of the endpoint's name where it is not the service's: `email` of SES.
    pub host: &'a str,
    /// IAM action, for errors: `ssm:GetParameter`.
    pub operation: &'a str,
    /// Path, beginning with `/`.
    pub path: &'a str,
    /// `x-amz-target` of the services that have one address for all operations.
    pub target: Option<&'a str>,
    /// None is the connection's own.
    pub region: Option<&'a str>,
    /// What it is about, for errors.
    pub resource: &'a str,
    /// Body.
    pub body: Value,
}

/// AWS services, called by name.
#[async_trait]
pub trait Aws: Send + Sync {
    /// The answer. `now` is UTC milliseconds, the time of the signature. One try: whoever calls knows whether a second
    /// one does harm. (the call's own `operation`)
    ///
    /// # Errors
    /// [`CloudError::Throttled`] and [`CloudError::NoAnswer`] may pass; [`CloudError::Refused`] names the operation, the
    /// resource, the service's code and its request id.
    async fn call(&self, call: &AwsCall<'_>, now: i64) -> Result<Value, CloudError>;
}

/// AWS, called by signed requests.
#[derive(Debug)]
pub struct AwsApi {
    connection: Connection,
    http: HttpClient,
}

/// Whether a text may become the part of a host's name that a region is.
pub(crate) fn is_region(text: &str) -> bool {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(known)
}

impl AwsApi {
    /// With the connection's credentials, region and endpoint.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            http: HttpClient::to_anywhere(),
        }
    }
}

#[async_trait]
impl Aws for AwsApi {
    async fn call(&self, call: &AwsCall<'_>, now: i64) -> Result<Value, CloudError> {
        let no_answer = |message: String| CloudError::NoAnswer {
            operation: call.operation.to_owned(),
            resource: call.resource.to_owned(),
            message,
        };
        let config = self.connection.config();
        let own_region = config.region().map(ToString::to_string);
        let region = call
            .region
            .map(str::to_owned)
            .or(own_region)
            .ok_or_else(|| no_answer("no region is set".to_owned()))?;
        if !is_region(&region) {
            // It becomes a part of a host's name, and an ARN's is whatever a user wrote.
            return Err(CloudError::Unreadable {
                what: call.resource.to_owned(),
                message: "its region is none".to_owned(),
            });
        }
        let domain = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        let base = config.endpoint_url().map_or_else(
            || format!("https://{}.{region}.{domain}", call.host),
            |endpoint| endpoint.trim_end_matches('/').to_owned(),
        );
        let kind = match call.target {
            Some(_) => "application/x-amz-json-1.1",
            None => "application/json",
        };
        let mut request = Request::new(Method::Post, format!("{base}{}", call.path))
            .header("content-type", kind)
            .body(call.body.to_string());
        if let Some(target) = call.target {
            request = request.header("x-amz-target", target);
        }
        let request = signed(request, &self.connection, call.service, &region, now)
            .await
            .map_err(|error| no_answer(error.to_string()))?;
        let answer = self
            .http
            .send(&request, &LIMITS)
            .await
            .map_err(|error: HttpError| no_answer(error.to_string()))?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        if answer.is_success() {
            return Ok(value);
        }
        Err(refusal(
            call,
            answer.status,
            &value,
            answer.header("x-amzn-errortype"),
            answer.header("x-amzn-requestid"),
        ))
    }
}

fn refusal(
    call: &AwsCall<'_>,
    status: u16,
    value: &Value,
    error_type: Option<&str>,
    request_id: Option<&str>,
) -> CloudError {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    // `com.amazon.coral.service#ThrottlingException` in the body, `BadRequestException:http://…` in the header.
    let code = match text("__type") {
        "" => error_type
            .and_then(|kind| kind.split(':').next())
            .unwrap_or_default(),
        kind => kind.rsplit('#').next().unwrap_or_default(),
    };
    let message = match text("message") {
        "" => text("Message"),
        message => message,
    };
    let operation = call.operation.to_owned();
    if code.contains("Throttl")
        || code.starts_with("TooMany")
        || code == "LimitExceededException"
        || status == 429
    {
        return CloudError::Throttled {
            operation,
            message: message.to_owned(),
        };
    }
    if status >= 500 {
        return CloudError::NoAnswer {
            operation,
            resource: call.resource.to_owned(),
            message: format!("status {status}: {message}"),
        };
    }
    CloudError::Refused {
        operation,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call() -> AwsCall<'static> {
        AwsCall {
            service: "ses",
            host: "email",
            operation: "ses:SendEmail",
            path: "/v2/email/outbound-emails",
            target: None,
            region: None,
            resource: "releases@example.com",
            body: json!({}),
        }
    }

    #[test]
    fn a_refusal_has_the_services_code_wherever_it_stands() {
        let of = |status, body: Value, header| refusal(&call(), status, &body, header, Some("r-1"));
        let code = |error: CloudError| match error {
            CloudError::Refused {
                code, request_id, ..
            } => (code, request_id),
            other => (other.to_string(), String::new()),
        };
        let in_body = of(
            400,
            json!({"__type": "com.amazon#Oops", "message": "no"}),
            None,
        );
        assert_eq!(code(in_body), ("Oops".to_owned(), "r-1".to_owned()));
        let in_header = of(
            400,
            json!({"message": "no"}),
            Some("MessageRejected:http://x"),
        );
        assert_eq!(code(in_header).0, "MessageRejected");
        assert_eq!(code(of(403, Value::Null, None)).0, "403");
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        for (status, body) in [
            (400, json!({"__type": "ThrottlingException"})),
            (429, Value::Null),
            (503, Value::Null),
        ] {
            assert!(
                refusal(&call(), status, &body, None, None).is_passing(),
                "{status}"
            );
        }
        assert!(!refusal(&call(), 400, &Value::Null, None, None).is_passing());
    }

    #[test]
    fn a_region_is_no_host() {
        assert!(is_region("eu-west-1"));
        for text in ["", "a.b", "EU", "x/y", "x:1"] {
            assert!(!is_region(text), "{text}");
        }
    }
}
