//! IAM's instance profiles by signed requests. IAM speaks the query protocol: a form in, XML out.

use std::time::Duration;

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Connection, InstanceProfiles};
use url::form_urlencoded;

use crate::aws::region;
use crate::{Http, HttpClient, Limits, Method, Request, Response, signed};

const LIMITS: Limits = Limits {
    total: Duration::from_secs(10),
    connect: Duration::from_secs(3),
    response_bytes: 512 * 1024,
    redirects: 0,
};

/// IAM is one for a partition: its address, and the region that requests are signed for.
fn address(region: &str) -> (&'static str, &'static str) {
    if region.starts_with("cn-") {
        ("https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1")
    } else if region.starts_with("us-gov-") {
        ("https://iam.us-gov.amazonaws.com", "us-gov-west-1")
    } else {
        ("https://iam.amazonaws.com", "us-east-1")
    }
}

/// Instance profiles on AWS.
#[derive(Debug)]
pub struct AwsInstanceProfiles {
    connection: Connection,
    http: HttpClient,
}

impl AwsInstanceProfiles {
    /// With the connection's credentials and endpoint. Makes no call.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            http: HttpClient::to_anywhere(),
        }
    }

    async fn call(
        &self,
        operation: &'static str,
        resource: &str,
        parameters: &[(&str, &str)],
        now: i64,
    ) -> Result<String, CloudError> {
        let no_answer = |message: String| CloudError::NoAnswer {
            operation: operation.to_owned(),
            resource: resource.to_owned(),
            message,
        };
        let region = region(&self.connection, None).unwrap_or_default();
        let (global, signed_for) = address(&region);
        let config = self.connection.config();
        let base = config.endpoint_url().unwrap_or(global);
        let action = operation.split(':').next_back().unwrap_or_default();
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", "2010-05-08")
            .extend_pairs(parameters)
            .finish();
        let request = Request::new(Method::Post, format!("{}/", base.trim_end_matches('/')))
            .header(
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8",
            )
            .body(form);
        let request = signed(request, &self.connection, "iam", signed_for, now)
            .await
            .map_err(|error| no_answer(error.to_string()))?;
        let answer = self
            .http
            .send(&request, &LIMITS)
            .await
            .map_err(|error| no_answer(error.to_string()))?;
        if answer.is_success() {
            Ok(answer.text())
        } else {
            Err(refusal(operation, resource, &answer))
        }
    }
}

fn refusal(operation: &str, resource: &str, answer: &Response) -> CloudError {
    let text = answer.text();
    let one = |tag: &str| all(&text, tag).into_iter().next().unwrap_or_default();
    let code = one("Code");
    if code.contains("Throttl") || answer.status == 429 {
        return CloudError::Throttled {
            operation: operation.to_owned(),
            message: one("Message"),
        };
    }
    if answer.status >= 500 {
        return CloudError::NoAnswer {
            operation: operation.to_owned(),
            resource: resource.to_owned(),
            message: format!("status {}", answer.status),
        };
    }
    CloudError::Refused {
        operation: operation.to_owned(),
        resource: resource.to_owned(),
        code,
        message: one("Message"),
        request_id: answer
            .header("x-amzn-requestid")
            .unwrap_or("unknown")
            .to_owned(),
    }
}

/// The texts of all elements of a name. Those that are asked for here hold neither elements nor references.
fn all(xml: &str, tag: &str) -> Vec<String> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    xml.split(&open)
        .skip(1)
        .filter_map(|rest| rest.split_once(&close))
        .map(|(text, _)| text.trim().to_owned())
        .collect()
}

#[async_trait]
impl InstanceProfiles for AwsInstanceProfiles {
    async fn exists(&self, name: &str, now: i64) -> Result<bool, CloudError> {
        let parameters = [("InstanceProfileName", name)];
        let found = self
            .call("iam:GetInstanceProfile", name, &parameters, now)
            .await;
        match found {
            Ok(_) => Ok(true),
            Err(error) if error.is_code("NoSuchEntity") => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn names(&self, now: i64) -> Result<Vec<String>, CloudError> {
        let answer = self
            .call(
                "iam:ListInstanceProfiles",
                "all instance profiles",
                &[("MaxItems", "100")],
                now,
            )
            .await?;
        let mut names = all(&answer, "InstanceProfileName");
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_the_answer_and_half_an_answer_has_none() {
        let answer = "<r><member><InstanceProfileName>web</InstanceProfileName><Roles/></member>\
             <member><InstanceProfileName>api</InstanceProfileName></member></r>";
        assert_eq!(all(answer, "InstanceProfileName"), ["web", "api"]);
        for broken in ["", "<InstanceProfileName>", "</InstanceProfileName>"] {
            assert!(all(broken, "InstanceProfileName").is_empty());
        }
    }

    #[test]
    fn iam_is_one_for_a_partition() {
        assert_eq!(address("eu-west-1").1, "us-east-1");
        assert_eq!(address("cn-northwest-1").1, "cn-north-1");
        assert_eq!(address("us-gov-east-1").1, "us-gov-west-1");
    }
}
