//! A role is assumed for one function's work: what STS is asked for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aws_credential_types::provider::ProvideCredentials;
use gennaker_cloud::{Account, Connection};
use gennaker_domain::ExecutionId;
use gennaker_testkit::{LocalServer, Reply};

const ANSWER: &str = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>AROA:run</AssumedRoleId><Arn>arn:aws:sts::210987654321:assumed-role/gennaker/run</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ASIASESSION</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"#;

/// What STS was sent, and the access key that came of it, for a function or for nobody in particular.
async fn assumed(function: Option<&str>) -> (String, String) {
    let server =
        LocalServer::start(|_| Reply::new(200, &[("content-type", "text/xml")], ANSWER)).unwrap();
    let mut connection =
        Connection::from_env()
            .await
            .at(&server.url("127.0.0.1", ""), "us-east-1", "123456789012");
    if let Some(function) = function {
        connection = connection.for_function(function);
    }
    let account = Account {
        name: "prod".to_owned(),
        account_id: "210987654321".to_owned(),
        role: Some("arn:aws:iam::210987654321:role/gennaker".to_owned()),
        regions: Vec::new(),
    };
    let run = ExecutionId::derive(1, &["session"]).run(1);
    let there = account.connection(&connection, "eu-west-1", &run).await;
    let provider = there.config().credentials_provider().unwrap();
    let credentials = provider.provide_credentials().await.unwrap();
    let received = server.received();
    assert_eq!(received.len(), 1, "{received:?}");
    let body = String::from_utf8(received.first().unwrap().body.clone()).unwrap();
    (body, credentials.access_key_id().to_owned())
}

#[tokio::test]
async fn a_role_is_assumed_with_the_functions_own_policy_and_the_runs_name() {
    let (sent, key) = assumed(Some("pin-server-group")).await;
    assert_eq!(key, "ASIASESSION");
    assert!(sent.contains("Action=AssumeRole"), "{sent}");
    assert!(sent.contains("RoleSessionName=gennaker-"), "{sent}");
    assert!(
        sent.contains("&Policy=%7B%22Version%22%3A%222012-10-17%22"),
        "{sent}"
    );
    assert!(
        sent.contains("autoscaling%3AUpdateAutoScalingGroup"),
        "{sent}"
    );
    assert!(
        sent.contains("autoscaling%3Aeu-west-1%3A210987654321%3AautoScalingGroup"),
        "{sent}"
    );
    assert!(!sent.contains("DeleteAutoScalingGroup"), "{sent}");
}

#[tokio::test]
async fn who_is_no_function_has_all_that_the_role_has() {
    let (sent, _) = assumed(None).await;
    assert!(!sent.contains("Policy="), "{sent}");
}
