//! Whose credentials a connection has: AWS says so.

use std::time::Duration;

use gennaker_cloud::{CloudError, Connection};

use crate::aws::{endpoint, region};
use crate::{Http, Limits, Method, Request, signed};

const OPERATION: &str = "sts:GetCallerIdentity";

const LIMITS: Limits = Limits {
    total: Duration::from_secs(10),
    connect: Duration::from_secs(3),
    response_bytes: 64 * 1024,
    redirects: 0,
};

/// ARN of whoever has the connection's credentials. (`sts:GetCallerIdentity`, which needs no permission)
///
/// # Errors
/// Those of STS, and where there are no credentials.
pub async fn caller(
    http: &dyn Http,
    connection: &Connection,
    now: i64,
) -> Result<String, CloudError> {
    let no_answer = |message: String| CloudError::NoAnswer {
        operation: OPERATION.to_owned(),
        resource: "the caller".to_owned(),
        message,
    };
    let region =
        region(connection, None).ok_or_else(|| no_answer("no region is set".to_owned()))?;
    let url = format!("{}/", endpoint(connection, "sts", &region));
    let request = Request::new(Method::Post, url)
        .header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .body("Action=GetCallerIdentity&Version=2011-06-15");
    let request = signed(request, connection, "sts", &region, now)
        .await
        .map_err(|error| no_answer(error.to_string()))?;
    let answer = http
        .send(&request, &LIMITS)
        .await
        .map_err(|error| no_answer(error.to_string()))?;
    if !answer.is_success() {
        return Err(CloudError::Refused {
            operation: OPERATION.to_owned(),
            resource: "the caller".to_owned(),
            code: answer.status.to_string(),
            message: "the credentials are not taken".to_owned(),
            request_id: answer
                .header("x-amzn-requestid")
                .unwrap_or("unknown")
                .to_owned(),
        });
    }
    arn_in(&answer.text()).ok_or_else(|| CloudError::Unreadable {
        what: "the answer of STS".to_owned(),
        message: "it names no ARN".to_owned(),
    })
}

/// `<Arn>…</Arn>` of the answer.
fn arn_in(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once("<Arn>")?;
    let (arn, _) = rest.split_once("</Arn>")?;
    let arn = arn.trim();
    arn.starts_with("arn:").then(|| arn.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_an_arn_or_nobody() {
        let answer = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::1:assumed-role/a/b</Arn>";
        assert_eq!(
            arn_in(answer).as_deref(),
            Some("arn:aws:sts::1:assumed-role/a/b")
        );
        for other in ["", "<Arn>", "<Arn></Arn>", "<Arn>x</Arn>"] {
            assert_eq!(arn_in(other), None);
        }
    }
}
