//! What classic load balancers answer, and how it is read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gennaker_cloud::classic_load_balancing::{AwsClassicLoadBalancing, InstanceHealth};
use gennaker_cloud::{ClassicLoadBalancing, Connection};
use gennaker_testkit::{LocalServer, Reply};

fn answer(operation: &str, result: &str) -> Reply {
    let body = format!(
        r#"<{operation}Response xmlns="http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/"><{operation}Result>{result}</{operation}Result></{operation}Response>"#
    );
    Reply::new(200, &[("content-type", "text/xml")], body)
}

fn refusal(code: &str) -> Reply {
    let body = format!(
        r#"<ErrorResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/"><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error><RequestId>r</RequestId></ErrorResponse>"#
    );
    Reply::new(400, &[("content-type", "text/xml")], body)
}

async fn port(server: &LocalServer) -> AwsClassicLoadBalancing {
    let connection = Connection::from_env().await;
    let url = server.url("127.0.0.1", "");
    AwsClassicLoadBalancing::new(&connection.at(&url, "us-east-1", "123456789012"))
}

#[tokio::test]
async fn load_balancers_are_listed_to_the_last_page() {
    let server = LocalServer::start(|request| {
        let (name, next) = match String::from_utf8_lossy(&request.body) {
            body if body.contains("Marker=second") => ("admin", ""),
            _ => ("web", "<NextMarker>second</NextMarker>"),
        };
        let member = format!(
            "<member><LoadBalancerName>{name}</LoadBalancerName><VPCId>vpc-1</VPCId></member>"
        );
        answer(
            "DescribeLoadBalancers",
            &format!("<LoadBalancerDescriptions>{member}</LoadBalancerDescriptions>{next}"),
        )
    })
    .unwrap();
    let balancers = port(&server).await.load_balancers().await.unwrap();
    let names: Vec<&str> = balancers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["web", "admin"]);
    assert!(
        balancers
            .iter()
            .all(|one| one.vpc_id.as_deref() == Some("vpc-1"))
    );
}

#[tokio::test]
async fn an_instances_health_comes_with_its_sentence() {
    let server = LocalServer::start(|_| {
        let member = "<member><InstanceId>i-1</InstanceId><State>OutOfService</State><ReasonCode>ELB</ReasonCode>\
                      <Description>Instance registration is still in progress.</Description></member>";
        let states = format!("<InstanceStates>{member}</InstanceStates>");
        answer("DescribeInstanceHealth", &states)
    })
    .unwrap();
    let health = port(&server).await.instance_health("web").await.unwrap();
    let expected = InstanceHealth {
        instance: "i-1".to_owned(),
        state: "OutOfService".to_owned(),
        description: "Instance registration is still in progress.".to_owned(),
    };
    assert_eq!(health, [expected]);
}

#[tokio::test]
async fn where_nothing_is_nobody_is_registered_and_nobody_has_to_be_taken_out() {
    let ids = ["i-1".to_owned()];
    let gone = LocalServer::start(|_| refusal("LoadBalancerNotFound")).unwrap();
    let port_to_nothing = port(&gone).await;
    assert_eq!(port_to_nothing.instance_health("web").await, Ok(Vec::new()));
    assert_eq!(
        port_to_nothing.deregister_instances("web", &ids).await,
        Ok(())
    );
    let error = port_to_nothing.register_instances("web", &ids).await;
    assert!(error.is_err_and(|error| error.is_code("LoadBalancerNotFound")));
    let denied = LocalServer::start(|_| refusal("AccessDenied")).unwrap();
    let error = port(&denied).await.deregister_instances("web", &ids).await;
    assert!(error.is_err_and(|error| error.is_code("AccessDenied")));
}
