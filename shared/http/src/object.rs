//! Objects in S3.

use std::time::Duration;

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Connection};

use crate::aws::{self, is_region};
use crate::{Http, HttpClient, HttpError, Limits, Request, Response, signed};

/// S3's own maximum of a key.
const KEY_BYTES: usize = 1_024;
/// S3's name of the action.
const OPERATION: &str = "s3:GetObject";

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectReference {
    /// Bucket.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Version; none is the newest.
    pub version: Option<String>,
    /// Region of the bucket; none is the function's own. S3 says so if it is another one.
    pub region: Option<String>,
}

/// A text that names no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no object in S3 (s3://BUCKET/KEY): {reason}")]
pub struct ObjectReferenceError {
    /// The text, shortened.
    pub text: String,
    /// What is wrong.
    pub reason: &'static str,
}

impl ObjectReference {
    /// The object of `s3://BUCKET/KEY`.
    ///
    /// # Errors
    /// [`ObjectReferenceError`]
    pub fn parse(text: &str) -> Result<Self, ObjectReferenceError> {
        let wrong = |reason| ObjectReferenceError {
            text: text.chars().take(200).collect(),
            reason,
        };
        let rest = text
            .trim()
            .strip_prefix("s3://")
            .ok_or_else(|| wrong("it does not begin with s3://"))?;
        let (bucket, key) = rest.split_once('/').ok_or_else(|| wrong("it has no key"))?;
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !(3..=63).contains(&bucket.len())
            || !bucket.chars().all(known)
            || !bucket.starts_with(alphanumeric)
            || !bucket.ends_with(alphanumeric)
        {
            return Err(wrong("the bucket's name is none"));
        }
        if key.is_empty() || key.len() > KEY_BYTES {
            return Err(wrong("a key has 1 to 1024 bytes"));
        }
        // A client resolves them: the request would be for another key, or another bucket.
        if key.split('/').any(|part| part == "." || part == "..") {
            return Err(wrong("a key with `.` or `..` cannot be asked for"));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version: None,
            region: None,
        })
    }

    /// Path and query of the object's address, the bucket in the path: a name with dots has no certificate.
    fn path(&self) -> String {
        let mut path = format!("/{}/", self.bucket);
        encode(&self.key, "/", &mut path);
        if let Some(version) = &self.version {
            path.push_str("?versionId=");
            encode(version, "", &mut path);
        }
        path
    }
}

impl std::fmt::Display for ObjectReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// Percent-encodes everything but what a signature counts as plain, and `kept`.
fn encode(text: &str, kept: &str, into: &mut String) {
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-_.~".contains(c) || kept.contains(c) {
            into.push(c);
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Reads objects.
#[async_trait]
pub trait Objects: Send + Sync {
    /// What the object holds, `most_bytes` at most. (`s3:GetObject`, with a version `s3:GetObjectVersion`)
    ///
    /// # Errors
    /// Those of S3; [`CloudError::Unreadable`] for one that is larger.
    async fn object(
        &self,
        wanted: &ObjectReference,
        most_bytes: usize,
        now: i64,
    ) -> Result<Vec<u8>, CloudError>;
}

/// The calls of [`Objects`], with the IAM actions that they need.
pub mod calls {
    gennaker_cloud::calls! { "Objects":
        OBJECT = "object" => ["s3:GetObject", "s3:GetObjectVersion"];
    }
}

/// Objects on AWS, by signed requests: the SDK's crate weighs more than a whole function.
#[derive(Debug)]
pub struct AwsObjects {
    connection: Connection,
    http: HttpClient,
}

impl AwsObjects {
    /// With the connection's credentials, region and endpoint.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            http: HttpClient::to_anywhere(),
        }
    }

    async fn ask(
        &self,
        wanted: &ObjectReference,
        region: &str,
        most_bytes: usize,
        now: i64,
    ) -> Result<Response, CloudError> {
        let no_answer = |message: String| CloudError::NoAnswer {
            operation: OPERATION.to_owned(),
            resource: wanted.to_string(),
            message,
        };
        if !is_region(region) {
            return Err(CloudError::Unreadable {
                what: wanted.to_string(),
                message: "its region is none".to_owned(),
            });
        }
        let endpoint = aws::endpoint(&self.connection, "s3", region);
        let request = Request::get(format!("{endpoint}{}", wanted.path()));
        let request = signed(request, &self.connection, "s3", region, now)
            .await
            .map_err(|error| no_answer(error.to_string()))?;
        let limits = Limits {
            total: Duration::from_secs(10),
            connect: Duration::from_secs(3),
            response_bytes: most_bytes,
            redirects: 0,
        };
        match self.http.send(&request, &limits).await {
            Ok(answer) => Ok(answer),
            Err(HttpError::TooLarge { limit, .. }) => Err(CloudError::Unreadable {
                what: wanted.to_string(),
                message: format!("it has more than {limit} bytes"),
            }),
            Err(error) => Err(no_answer(error.to_string())),
        }
    }
}

#[async_trait]
impl Objects for AwsObjects {
    async fn object(
        &self,
        wanted: &ObjectReference,
        most_bytes: usize,
        now: i64,
    ) -> Result<Vec<u8>, CloudError> {
        let region = aws::region(&self.connection, wanted.region.as_deref()).unwrap_or_default();
        let mut answer = self.ask(wanted, &region, most_bytes, now).await?;
        let other = answer.header("x-amz-bucket-region").map(str::to_owned);
        if let Some(other) = other.filter(|other| *other != region)
            && !answer.is_success()
        {
            answer = self.ask(wanted, &other, most_bytes, now).await?;
        }
        if answer.is_success() {
            return Ok(answer.body);
        }
        Err(refusal(wanted, &answer))
    }
}

/// What S3's refusal means; its answer is a small XML document.
fn refusal(wanted: &ObjectReference, answer: &Response) -> CloudError {
    let text = answer.text();
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once("</")?;
        Some(value.chars().take(200).collect::<String>())
    };
    let code = element("Code").unwrap_or_else(|| answer.status.to_string());
    let message = element("Message").unwrap_or_default();
    let operation = OPERATION.to_owned();
    match answer.status {
        429 => CloudError::Throttled { operation, message },
        503 if code == "SlowDown" => CloudError::Throttled { operation, message },
        500..=599 => CloudError::NoAnswer {
            operation,
            resource: wanted.to_string(),
            message: format!("{code}: {message}"),
        },
        _ => CloudError::Refused {
            operation,
            resource: wanted.to_string(),
            code,
            message,
            request_id: answer
                .header("x-amz-request-id")
                .unwrap_or("unknown")
                .to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_a_bucket_and_a_key() {
        let found = ObjectReference::parse(" s3://shop-artifacts/a/b c.json").unwrap();
        assert_eq!(
            (found.bucket.as_str(), found.key.as_str()),
            ("shop-artifacts", "a/b c.json")
        );
        for text in [
            "",
            "shop/a",
            "https://shop/a",
            "s3://shop",
            "s3://shop/",
            "s3:///a",
            "s3://Shop/a",
            "s3://sh/a",
            "s3://-shop/a",
            "s3://shop@evil.example/a",
            "s3://shop/a/../../other/b",
            "s3://shop/./a",
        ] {
            assert!(ObjectReference::parse(text).is_err(), "{text}");
        }
        let long = format!("s3://shop/{}", "k".repeat(KEY_BYTES + 1));
        assert!(ObjectReference::parse(&long).is_err());
    }

    #[test]
    fn a_key_becomes_nothing_but_a_path() {
        let mut found = ObjectReference::parse("s3://shop/a?b=c#d/é %2e").unwrap();
        assert_eq!(found.path(), "/shop/a%3Fb%3Dc%23d/%C3%A9%20%252e");
        found.version = Some("x&y=z".to_owned());
        assert!(found.path().ends_with("?versionId=x%26y%3Dz"));
    }

    #[test]
    fn a_refusal_is_read_and_what_passes_is_told_from_what_does_not() {
        let wanted = ObjectReference::parse("s3://shop/a").unwrap();
        let of = |status: u16, body: &str| {
            refusal(
                &wanted,
                &Response {
                    status,
                    headers: Vec::new(),
                    body: body.as_bytes().to_vec(),
                    url: String::new(),
                },
            )
        };
        let missing = "<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>";
        let error = of(404, missing);
        assert!(error.is_code("NoSuchKey") && error.to_string().contains("s3://shop/a"));
        assert!(of(503, "<Code>SlowDown</Code>").is_passing());
        assert!(of(500, "").is_passing());
        assert!(of(403, "").is_code("403"));
    }
}
