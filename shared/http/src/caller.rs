//! Who calls a function: the person signs a question to STS, the function sends it, and STS says whose signature it is.
//!
//! IAM decides who may invoke a function, but Lambda does not tell the function who did. So whoever calls signs
//! `sts:GetCallerIdentity` with the credentials of the call and hands over the signature alone ([`prove`]); the function
//! puts the same request together, sends it to the endpoint that its own settings know, and believes what STS answers
//! ([`StsCallers`]). Address, method, body and headers of that request are the function's: nothing of a payload decides
//! where it goes. A header among the signed ones binds it to the installation, the function and the event's every field
//! ([`audience`]), so a proof that was seen elsewhere proves nothing here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use gennaker_cloud::{CloudError, Connection};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::aws::{endpoint, region};
use crate::{Http, HttpClient, Limits, Method, Request, Response, signed};

/// The event's field that holds the proof.
pub const FIELD: &str = "caller";

/// The header that binds a signature to what it was made for.
const AUDIENCE: &str = "x-gennaker-audience";

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

const IDENTITY: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// How old a proof may be, and how far its clock may be ahead.
const FRESH_MILLIS: i64 = 5 * 60_000;

/// Longest session token that is sent on; those of STS have up to about two thousand characters.
const TOKEN_BYTES: usize = 8 * 1024;

const LIMITS: Limits = Limits {
    total: Duration::from_secs(5),
    connect: Duration::from_secs(3),
    response_bytes: 64 * 1024,
    redirects: 0,
};

/// A signed question to STS, without what the function knows itself. It is worth something for five minutes and for one
/// event; it is never stored or logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proof {
    /// The `authorization` header.
    pub authorization: String,
    /// The `x-amz-date` header.
    pub date: String,
    /// The `x-amz-security-token` header of temporary credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}

/// Why nobody can be named.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// The proof is none. Calling again does not help.
    #[error("{0}")]
    NotProven(&'static str),
    /// STS could not be asked.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

/// What a proof is made for: an installation, a function of it, and all fields of the event but the proof.
#[must_use]
pub fn audience(prefix: &str, function: &str, event: &Value) -> String {
    let mut event = event.clone();
    if let Some(fields) = event.as_object_mut() {
        fields.shift_remove(FIELD);
    }
    // The order of keys is nobody's to keep on the way.
    event.sort_all_objects();
    let digest = hex::encode(Sha256::digest(event.to_string()));
    format!("{prefix}/{function}/{digest}")
}

/// Signs a question to STS for this audience with the connection's credentials, at `now` (UTC milliseconds). Makes no
/// call.
///
/// # Errors
/// Without a region or credentials.
pub async fn prove(connection: &Connection, audience: &str, now: i64) -> Result<Proof, CloudError> {
    let region = region(connection, None).ok_or_else(|| no_answer("no region is set"))?;
    let base = endpoint(connection, "sts", &region);
    let request = signed(
        question(&base, IDENTITY).header(AUDIENCE, audience),
        connection,
        "sts",
        &region,
        now,
    )
    .await
    .map_err(|error| no_answer(&error.to_string()))?;
    let header = |name: &str| {
        let found = request.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    Ok(Proof {
        authorization: header("authorization").unwrap_or_default(),
        date: header("x-amz-date").unwrap_or_default(),
        token: header("x-amz-security-token"),
    })
}

/// The connection with a session of a role, named after a person. (`sts:AssumeRole`)
///
/// # Errors
/// Those of STS.
pub async fn session(
    connection: &Connection,
    role: &str,
    name: &str,
    now: i64,
) -> Result<Connection, CloudError> {
    let region = region(connection, None).ok_or_else(|| no_answer("no region is set"))?;
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("Action", "AssumeRole")
        .append_pair("Version", "2011-06-15")
        .append_pair("RoleArn", role)
        .append_pair("RoleSessionName", name)
        .finish();
    let asked = question(&endpoint(connection, "sts", &region), &body);
    let asked = signed(asked, connection, "sts", &region, now)
        .await
        .map_err(|error| no_answer(&error.to_string()))?;
    let answer = HttpClient::to_anywhere()
        .send(&asked, &LIMITS)
        .await
        .map_err(|error| no_answer(&error.to_string()))?;
    let text = answer.text();
    let field = |name: &str| element(&text, name).map(str::to_owned);
    match (
        field("AccessKeyId"),
        field("SecretAccessKey"),
        field("SessionToken"),
    ) {
        (Some(key), Some(secret), Some(token)) if answer.is_success() => Ok(connection
            .with_credentials(Credentials::new(key, secret, Some(token), None, "session"))),
        _ => Err(refusal(&answer, "sts:AssumeRole")),
    }
}

/// Tells who calls a function.
#[async_trait]
pub trait Callers: Send + Sync {
    /// Whoever sends this event to this function: an ARN. None if the event has no proof of it.
    ///
    /// # Errors
    /// [`CallerError`]: a proof that is none is not the same as no proof.
    async fn caller(
        &self,
        function: &str,
        event: &Value,
        now: i64,
    ) -> Result<Option<String>, CallerError>;
}

/// Asks STS who calls. (`sts:GetCallerIdentity` of the caller, which needs no permission)
#[derive(Clone)]
pub struct StsCallers {
    http: Arc<dyn Http>,
    /// Without a slash at its end.
    endpoint: String,
    region: String,
    prefix: String,
}

impl fmt::Debug for StsCallers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StsCallers")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl StsCallers {
    /// Of the installation of that prefix, with the connection's region and endpoint. Makes no call.
    #[must_use]
    pub fn connect(connection: &Connection, prefix: impl Into<String>) -> Self {
        Self::new(connection, Arc::new(HttpClient::to_anywhere()), prefix)
    }

    /// The same by a client of one's own.
    #[must_use]
    pub fn new(connection: &Connection, http: Arc<dyn Http>, prefix: impl Into<String>) -> Self {
        let region = region(connection, None).unwrap_or_default();
        Self {
            http,
            endpoint: endpoint(connection, "sts", &region),
            region,
            prefix: prefix.into(),
        }
    }
}

#[async_trait]
impl Callers for StsCallers {
    async fn caller(
        &self,
        function: &str,
        event: &Value,
        now: i64,
    ) -> Result<Option<String>, CallerError> {
        let Some(proof) = event.get(FIELD).filter(|proof| !proof.is_null()) else {
            return Ok(None);
        };
        let proof: Proof = serde_json::from_value(proof.clone()).map_err(|_| {
            CallerError::NotProven("it is no object of `authorization`, `date` and `token`")
        })?;
        check(&proof, &self.region, now)?;
        let mut question = question(&self.endpoint, IDENTITY)
            .header(AUDIENCE, audience(&self.prefix, function, event))
            .header("x-amz-date", proof.date)
            .header("authorization", proof.authorization);
        if let Some(token) = proof.token {
            question = question.header("x-amz-security-token", token);
        }
        let answer = self
            .http
            .send(&question, &LIMITS)
            .await
            .map_err(|error| no_answer(&error.to_string()))?;
        if !answer.is_success() {
            return Err(match refusal(&answer, OPERATION) {
                CloudError::Refused { .. } => CallerError::NotProven(
                    "STS does not take it: it was signed for something else, or by credentials that are not valid",
                ),
                passing => passing.into(),
            });
        }
        let text = answer.text();
        let arn = element(&text, "Arn").filter(|arn| arn.starts_with("arn:"));
        let arn = arn.ok_or_else(|| CloudError::Unreadable {
            what: "the answer of STS".to_owned(),
            message: "it names no ARN".to_owned(),
        })?;
        Ok(Some(arn.to_owned()))
    }
}

const OPERATION: &str = "sts:GetCallerIdentity";

/// A call of STS's query protocol.
fn question(base: &str, body: &str) -> Request {
    Request::new(Method::Post, format!("{base}/"))
        .header("content-type", CONTENT_TYPE)
        .body(body)
}

/// What can be seen of a proof without STS: it is of this time, for this region, and signs the audience.
fn check(proof: &Proof, region: &str, now: i64) -> Result<(), CallerError> {
    let not = |reason| Err(CallerError::NotProven(reason));
    let Some(signed_at) = millis(&proof.date) else {
        return not("its `date` is none, such as 20260131T235959Z");
    };
    if now.abs_diff(signed_at) > FRESH_MILLIS.unsigned_abs() {
        return not("it was not made within the last five minutes; is the clock right?");
    }
    let mut headers = vec!["content-type", "host", "x-amz-date"];
    if let Some(token) = &proof.token {
        if token.len() > TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return not("its `token` is none");
        }
        headers.push("x-amz-security-token");
    }
    headers.push(AUDIENCE);
    let day = proof.date.get(..8).unwrap_or_default();
    let tail = format!(
        "/{day}/{region}/sts/aws4_request, SignedHeaders={}, Signature=",
        headers.join(";")
    );
    let parts = proof
        .authorization
        .strip_prefix("AWS4-HMAC-SHA256 Credential=")
        .and_then(|rest| rest.split_once(&tail));
    let Some((key, signature)) = parts else {
        return not("it is not signed for STS in this region with all headers that count");
    };
    let is_key = (1..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_signature = signature.len() == 64 && signature.bytes().all(|b| b.is_ascii_hexdigit());
    if is_key && is_signature {
        Ok(())
    } else {
        not("its `authorization` is none")
    }
}

/// UTC milliseconds of an `x-amz-date`; none if it is not of the one form.
#[must_use]
pub fn millis(date: &str) -> Option<i64> {
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    // Other texts mean the same time; a signature is made over one.
    let exact = time.strftime("%Y%m%dT%H%M%SZ").to_string() == date;
    let instant = TimeZone::UTC.to_timestamp(time).ok()?;
    exact.then(|| instant.as_millisecond())
}

/// The text of the first element of that name.
fn element<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = answer.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    (!text.is_empty()).then_some(text)
}

fn no_answer(message: &str) -> CloudError {
    CloudError::NoAnswer {
        operation: OPERATION.to_owned(),
        resource: "the caller".to_owned(),
        message: message.to_owned(),
    }
}

/// What an answer that is no success means.
fn refusal(answer: &Response, operation: &str) -> CloudError {
    let text = answer.text();
    let code = element(&text, "Code").unwrap_or_default();
    if answer.status == 429 || code.contains("Throttl") {
        return CloudError::Throttled {
            operation: operation.to_owned(),
            message: code.to_owned(),
        };
    }
    if answer.status >= 500 {
        return no_answer(&format!("status {}", answer.status));
    }
    CloudError::Refused {
        operation: operation.to_owned(),
        resource: "the caller".to_owned(),
        code: answer.status.to_string(),
        message: "the credentials are not taken".to_owned(),
        request_id: answer
            .header("x-amzn-requestid")
            .unwrap_or("unknown")
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_800_000_000_000;

    fn proof() -> Proof {
        Proof {
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential=AKID/20270115/us-east-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-gennaker-audience, Signature={}",
                "a".repeat(64)
            ),
            date: "20270115T080000Z".to_owned(),
            token: None,
        }
    }

    #[test]
    fn an_audience_is_of_one_installation_one_function_and_one_event_in_any_order_of_its_keys() {
        let event = json!({"execution": "E", "stage": "1", "caller": {"date": "x"}, "more": {"a": 1, "b": 2}});
        let same = json!({"more": {"b": 2, "a": 1}, "stage": "1", "execution": "E"});
        assert_eq!(
            audience("g", "decide", &event),
            audience("g", "decide", &same)
        );
        let mut other = same.clone();
        other["more"]["b"] = json!(3);
        for different in [
            audience("h", "decide", &same),
            audience("g", "start", &same),
            audience("g", "decide", &other),
        ] {
            assert_ne!(different, audience("g", "decide", &same));
        }
    }

    #[test]
    fn a_proof_is_fresh_of_this_region_and_signs_all_that_counts() {
        assert!(check(&proof(), "us-east-1", NOW).is_ok());
        assert!(check(&proof(), "us-east-1", NOW + FRESH_MILLIS).is_ok());
        for at in [NOW + FRESH_MILLIS + 1, NOW - FRESH_MILLIS - 1, 0, i64::MIN] {
            assert!(check(&proof(), "us-east-1", at).is_err(), "{at}");
        }
        assert!(check(&proof(), "eu-west-1", NOW).is_err());
        let cut = [
            ("x-gennaker-audience", "x-another"),
            (";x-gennaker-audience", ""),
            ("content-type;host;", "content-type;"),
            ("/sts/", "/iam/"),
            ("20270115/", "20270114/"),
            ("AKID", "AK/ID"),
            ("AKID", ""),
            ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            ("Signature=a", "Signature="),
            ("Signature=a", "Signature=é"),
        ];
        for (from, to) in cut {
            let authorization = proof().authorization.replace(from, to);
            let changed = Proof {
                authorization,
                ..proof()
            };
            assert!(check(&changed, "us-east-1", NOW).is_err(), "{from} {to}");
        }
        for date in [
            "",
            "20270115T080000",
            "20270115t080000z",
            "2027-01-15T08:00:00Z",
            " 20270115T080000Z",
            "20270115T080000Z\n",
        ] {
            let changed = Proof {
                date: date.to_owned(),
                ..proof()
            };
            assert!(check(&changed, "us-east-1", NOW).is_err(), "{date}");
        }
        for token in [
            "a b",
            "a\nb",
            &"a".repeat(TOKEN_BYTES + 1),
            "token-that-is-not-signed",
        ] {
            let changed = Proof {
                token: Some(token.to_owned()),
                ..proof()
            };
            assert!(check(&changed, "us-east-1", NOW).is_err());
        }
    }

    #[test]
    fn an_answer_names_what_it_holds_or_nothing() {
        let answer = "<GetCallerIdentityResult><Arn>arn:aws:sts::1:assumed-role/a/b</Arn>";
        assert_eq!(
            element(answer, "Arn"),
            Some("arn:aws:sts::1:assumed-role/a/b")
        );
        for other in ["", "<Arn>", "<Arn></Arn>", "<Arn>x"] {
            assert_eq!(element(other, "Arn"), None);
        }
    }

    #[test]
    fn a_proof_shows_nothing_of_itself() {
        assert_eq!(format!("{:?}", proof()), "Proof");
    }
}
