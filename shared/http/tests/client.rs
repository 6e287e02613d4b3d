//! The client against a real server on this machine, hostile answers among its.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gennaker_http::{
    AddressPolicy, AwsSecrets, Http, HttpClient, HttpError, Limits, Method, Request, Resolve,
    SecretReference, Secrets,
};
use gennaker_testkit::{LocalServer, Reply};

/// Every name is this machine, but `inside.example.com`, and `rebinds.example.com` is public when it is asked first.
#[derive(Default)]
struct Names {
    asked: AtomicUsize,
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let text = match host {
            "inside.example.com" => "169.254.169.254",
            "rebinds.example.com" if asked == 0 => "127.0.0.1",
            "rebinds.example.com" => "169.254.169.254",
            "nowhere.example.com" => return Err(std::io::Error::other("NXDOMAIN")),
            _ => "127.0.0.1",
        };
        Ok(vec![text.parse().unwrap()])
    }
}

fn client(allowed: &str) -> HttpClient {
    let (policy, unreadable) = AddressPolicy::parse(allowed);
    assert!(unreadable.is_empty());
    HttpClient::with_resolver(policy, Arc::new(Names::default()))
}

/// A client that calls this machine under any name.
fn here() -> HttpClient {
    client("127.0.0.1")
}

fn limits() -> Limits {
    Limits {
        total: Duration::from_secs(5),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_request_arrives_with_its_headers_and_body_and_the_answer_comes_back() {
    let server = LocalServer::start(|_| {
        Reply::new(
            201,
            &[("Location", "/jobs/1"), ("X-Twice", "a"), ("X-Twice", "b")],
            r#"{"id":1}"#,
        )
    })
    .unwrap();
    let request = Request::new(
        Method::Post,
        server.url("hooks.example.com", "/jobs?x=1#part"),
    )
    .header("Content-Type", "application/json")
    .header("X-Value", "one")
    .header("X-Value", "two")
    .header("Host", "other.example.com")
    .header("Content-Length", "9999")
    .body(r#"{"tag":"v1"}"#);
    let response = here().send(&request, &limits()).await.unwrap();
    assert_eq!(
        (response.status, response.text().as_str()),
        (201, r#"{"id":1}"#)
    );
    assert_eq!(response.header("LOCATION"), Some("/jobs/1"));
    assert_eq!(
        response
            .headers
            .iter()
            .filter(|(name, _)| name == "x-twice")
            .count(),
        2
    );
    let received = &server.received()[0];
    assert_eq!(
        (received.method.as_str(), received.path.as_str()),
        ("POST", "/jobs?x=1")
    );
    assert_eq!(received.body, br#"{"tag":"v1"}"#);
    let host = format!("hooks.example.com:{}", server.port());
    assert_eq!(received.header("host"), Some(host.as_str()));
    assert_eq!(received.header("content-type"), Some("application/json"));
    let values: Vec<_> = received
        .headers
        .iter()
        .filter(|(name, _)| name == "x-value")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(values, ["one", "two"]);
}

#[tokio::test]
async fn a_post_without_a_body_has_a_length_and_a_get_has_none() {
    let server = LocalServer::start(|_| Reply::new(204, &[], "")).unwrap();
    for method in [
        Method::Post,
        Method::Put,
        Method::Get,
        Method::Delete,
        Method::Head,
    ] {
        let request = Request::new(method, server.url("h.example.com", "/"));
        assert_eq!(here().send(&request, &limits()).await.unwrap().status, 204);
    }
    let lengths: Vec<_> = server
        .received()
        .iter()
        .map(|r| r.header("content-length").map(str::to_owned))
        .collect();
    let zero = Some("0".to_owned());
    assert_eq!(lengths, [zero.clone(), zero, None, None, None]);
}

#[tokio::test]
async fn addresses_of_the_inside_are_refused_and_nothing_is_sent() {
    let server = LocalServer::start(|_| Reply::new(200, &[], "")).unwrap();
    let strict = client("");
    for url in [
        server.url("hooks.example.com", "/"),
        server.url("127.0.0.1", "/"),
        server.url("localhost", "/"),
        server.url("0x7f.1", "/"),
        server.url("2130706433", "/"),
        server.url("[::ffff:127.0.0.1]", "/"),
        "http://inside.example.com/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://hooks.example.com/".to_owned(),
    ] {
        let error = strict
            .send(&Request::get(&url), &limits())
            .await
            .unwrap_err();
        assert!(matches!(error, HttpError::Refused { .. }), "{url}: {error}");
        assert!(!error.may_have_arrived() && !error.is_passing(), "{url}");
        assert!(!error.to_string().contains("169.254"), "{error}");
    }
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_redirect_to_the_inside_is_refused() {
    let server = LocalServer::start(|_| {
        Reply::new(
            302,
            &[("location", "http://inside.example.com/latest/meta-data/")],
            "",
        )
    })
    .unwrap();
    let url = server.url("hooks.example.com", "/");
    let error = here()
        .send(&Request::get(url), &limits())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, HttpError::Refused { host, .. } if host == "inside.example.com"),
        "{error}"
    );
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_called() {
    let server = LocalServer::start(|_| Reply::new(200, &[], "here")).unwrap();
    let names = Arc::new(Names::default());
    let (policy, _) = AddressPolicy::parse("127.0.0.1");
    let client = HttpClient::with_resolver(policy, Arc::clone(&names) as Arc<dyn Resolve>);
    let request = Request::get(server.url("rebinds.example.com", "/"));
    assert_eq!(
        client.send(&request, &limits()).await.unwrap().text(),
        "here"
    );
    assert_eq!(
        names.asked.load(Ordering::SeqCst),
        1,
        "the name is resolved once"
    );
    let error = client.send(&request, &limits()).await.unwrap_err();
    assert!(matches!(error, HttpError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_and_change_a_post_as_browsers_do() {
    let server = LocalServer::start(|request| match request.path.as_str() {
        "/found" => Reply::new(302, &[("location", "/end?moved=1")], ""),
        "/keep" => Reply::new(307, &[("location", "end")], ""),
        _ => Reply::new(200, &[], "end"),
    })
    .unwrap();
    let post = |path: &str| {
        Request::new(Method::Post, server.url("h.example.com", path))
            .header("authorization", "abc")
            .body("payload")
    };
    let response = here().send(&post("/found"), &limits()).await.unwrap();
    assert_eq!(response.url, server.url("h.example.com", "/end?moved=1"));
    here().send(&post("/keep"), &limits()).await.unwrap();
    let seen: Vec<_> = server
        .received()
        .into_iter()
        .map(|r| {
            (
                r.method.clone(),
                r.body.len(),
                r.header("authorization").is_some(),
            )
        })
        .collect();
    let post = ("POST".to_owned(), 7, true);
    assert_eq!(
        seen,
        [
            post.clone(),
            ("GET".to_owned(), 0, true),
            post.clone(),
            post
        ]
    );
}

#[tokio::test]
async fn another_origin_gets_neither_secrets_nor_the_body() {
    let other = LocalServer::start(|_| Reply::new(200, &[], "other")).unwrap();
    let location = other.url("other.example.com", "/");
    let server = LocalServer::start(move |request| {
        let status = if request.path == "/keep" { 308 } else { 303 };
        Reply::new(status, &[("location", &location)], "")
    })
    .unwrap();
    let post = |path: &str| {
        Request::new(Method::Post, server.url("h.example.com", path))
            .header("authorization", "abc")
            .header("x-token", "abc")
            .header("cookie", "abc")
            .header("accept", "text/plain")
            .body("payload")
    };
    assert_eq!(
        here().send(&post("/see"), &limits()).await.unwrap().text(),
        "other"
    );
    let error = here().send(&post("/keep"), &limits()).await.unwrap_err();
    assert!(
        matches!(error, HttpError::Redirect { .. }) && error.may_have_arrived(),
        "{error}"
    );
    let received = other.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].header("accept"), Some("text/plain"));
    for name in ["authorization", "x-token", "cookie"] {
        assert_eq!(received[0].header(name), None, "{name}");
    }
}

#[tokio::test]
async fn redirects_without_end_end() {
    let server = LocalServer::start(|_| Reply::new(301, &[("location", "/again")], "")).unwrap();
    let error = here()
        .send(&Request::get(server.url("h.example.com", "/")), &limits())
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::Redirect { .. }), "{error}");
    assert_eq!(
        server.received().len(),
        6,
        "the first request and five redirects"
    );
}

#[tokio::test]
async fn an_answer_that_is_too_long_too_slow_or_broken_is_an_error() {
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n400\r\n".to_owned()
        + &"x".repeat(1024)
        + "\r\n0\r\n\r\n";
    let head = "HTTP/1.1 200 OK\r\n".to_owned()
        + &format!("x-{}: y\r\n", "z".repeat(500)).repeat(400)
        + "\r\n";
    let server = LocalServer::start(move |request| match request.path.as_str() {
        "/long" => Reply::new(200, &[], "x".repeat(1001)),
        "/chunks" => Reply::raw(chunks.clone()),
        "/fits" => Reply::new(200, &[], "x".repeat(1000)),
        "/head" => Reply::raw(head.clone()),
        "/short" => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
        "/nothing" => Reply::raw(""),
        "/slow-head" => Reply::raw("HTTP/1.1 200").then(Duration::from_secs(3), " OK\r\n\r\n"),
        "/slow-body" => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
            .then(Duration::from_secs(3), "b"),
        _ => Reply::raw("SSH-2.0-OpenSSH\r\n"),
    })
    .unwrap();
    let limits = Limits {
        total: Duration::from_secs(1),
        response_bytes: 1000,
        ..Limits::default()
    };
    let (here, server) = (&here(), &server);
    let ask = async |path: &str| {
        here.send(&Request::get(server.url("h.example.com", path)), &limits)
            .await
    };
    assert_eq!(ask("/fits").await.unwrap().body.len(), 1000);
    for path in ["/long", "/chunks"] {
        let error = ask(path).await.unwrap_err();
        assert!(
            matches!(error, HttpError::TooLarge { limit: 1000, .. }),
            "{path}: {error}"
        );
    }
    for path in ["/head", "/short", "/nothing", "/ssh"] {
        let error = ask(path).await.unwrap_err();
        assert!(
            matches!(error, HttpError::Broken { sent: true, .. }),
            "{path}: {error}"
        );
    }
    for path in ["/slow-head", "/slow-body"] {
        let error = ask(path).await.unwrap_err();
        assert!(
            matches!(
                error,
                HttpError::TimedOut {
                    sent: true,
                    seconds: 1,
                    ..
                }
            ),
            "{path}: {error}"
        );
        assert!(error.may_have_arrived() && error.is_passing());
    }
}

#[tokio::test]
async fn what_certainly_did_not_arrive_is_told() {
    let port = {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let closed = here()
        .send(
            &Request::get(format!("http://h.example.com:{port}/")),
            &limits(),
        )
        .await
        .unwrap_err();
    assert!(matches!(closed, HttpError::NoConnection { .. }), "{closed}");
    let unknown = here()
        .send(&Request::get("http://nowhere.example.com/"), &limits())
        .await
        .unwrap_err();
    assert!(
        matches!(unknown, HttpError::UnknownHost { .. }),
        "{unknown}"
    );
    for error in [closed, unknown] {
        assert!(!error.may_have_arrived() && error.is_passing());
    }
    for (url, header) in [
        ("not an address", "x"),
        ("http://", "x"),
        ("http://h.example.com/", "a b"),
        ("http://h.example.com/", ""),
    ] {
        let error = here()
            .send(&Request::get(url).header(header, "v"), &limits())
            .await
            .unwrap_err();
        assert!(matches!(error, HttpError::Invalid { .. }), "{url}: {error}");
        assert!(!error.is_passing());
    }
    let error = here()
        .send(
            &Request::get("http://h.example.com/").header("x", "a\r\nx-evil: 1"),
            &limits(),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::Invalid { .. }), "{error}");
}

mod tls {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem)
            .map(Result::unwrap)
            .collect()
    }

    pub(crate) fn roots() -> RootCertStore {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(include_bytes!("tls/authority.pem")) {
            roots.add(certificate).unwrap();
        }
        roots
    }

    /// A server for `secure.example.com`; its port.
    pub(crate) async fn serve() -> u16 {
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates(include_bytes!("tls/server.pem")), key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust the certificate goes away here.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut buffer = [0; 4096];
                    let _ = stream.read(&mut buffer).await;
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecure")
                        .await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        port
    }
}

#[tokio::test]
async fn https_trusts_a_certificate_of_a_known_authority_for_the_right_name_only() {
    let port = tls::serve().await;
    let request = |host: &str| Request::get(format!("https://{host}:{port}/"));
    let trusting = here().trusting(tls::roots());
    let response = trusting
        .send(&request("secure.example.com"), &limits())
        .await
        .unwrap();
    assert_eq!(response.text(), "secure");
    let wrong_name = trusting
        .send(&request("other.example.com"), &limits())
        .await
        .unwrap_err();
    let unknown_authority = here()
        .send(&request("secure.example.com"), &limits())
        .await
        .unwrap_err();
    for error in [wrong_name, unknown_authority] {
        assert!(
            matches!(&error, HttpError::NoConnection { reason, .. } if reason.contains("certificate")),
            "{error}"
        );
        assert!(!error.may_have_arrived());
    }
}

#[tokio::test]
async fn secrets_are_read_by_one_signed_call() {
    let server = LocalServer::start(|request| {
        let body: String = String::from_utf8_lossy(&request.body).into_owned();
        let signed = request
            .header("authorization")
            .is_some_and(|header| header.starts_with("AWS4-HMAC-SHA256 Credential=123456789012/"));
        match request.header("x-amz-target") {
            _ if !signed => Reply::new(403, &[], r#"{"__type":"UnrecognizedClientException"}"#),
            Some("AmazonSSM.GetParameter") if body.contains("/gennaker/token") => {
                Reply::new(200, &[], r#"{"Parameter":{"Value":"hunter2"}}"#)
            }
            Some("AmazonSSM.GetParameter") => Reply::new(
                400,
                &[("x-amzn-requestid", "r-1")],
                r#"{"__type":"com.amazonaws#ParameterNotFound","message":"no"}"#,
            ),
            Some("secretsmanager.GetSecretValue") if body.contains("binary") => {
                Reply::new(200, &[], r#"{"SecretBinary":"aHVudGVyMg=="}"#)
            }
            Some("secretsmanager.GetSecretValue") if body.contains("busy") => Reply::new(
                400,
                &[],
                r#"{"__type":"ThrottlingException","Message":"slow down"}"#,
            ),
            Some("secretsmanager.GetSecretValue") => {
                Reply::new(200, &[], r#"{"SecretString":"{\"token\":\"hunter2\"}"}"#)
            }
            _ => Reply::new(500, &[], ""),
        }
    })
    .unwrap();
    let connection = gennaker_cloud::Connection::from_env().await.at(
        &server.url("127.0.0.1", ""),
        "us-east-1",
        "123456789012",
    );
    let secrets = AwsSecrets::new(&connection);
    let get = async |text: &str| {
        let reference = SecretReference::parse(text).unwrap().unwrap();
        secrets.secret(&reference, 1_800_000_000_000).await
    };
    for reference in [
        "ssm:/gennaker/token",
        "secretsmanager:gennaker/hooks:token",
        "encrypted:secrets-manager!r:eu-west-1!s:hooks!k:token",
        "secretsmanager:binary",
    ] {
        assert_eq!(
            get(reference).await.unwrap().expose(),
            "hunter2",
            "{reference}"
        );
    }
    assert!(
        get("ssm:/other")
            .await
            .unwrap_err()
            .is_code("ParameterNotFound")
    );
    assert!(get("secretsmanager:busy").await.unwrap_err().is_passing());
    let no_key = get("secretsmanager:hooks:other").await.unwrap_err();
    assert!(no_key.to_string().contains("no field `other`"), "{no_key}");
    let calls = server.received().len();
    let elsewhere = get("ssm:arn:aws:ssm:evil.example.com/:1:parameter/x")
        .await
        .unwrap_err();
    assert!(elsewhere.to_string().contains("region"), "{elsewhere}");
    assert_eq!(
        server.received().len(),
        calls,
        "nothing is sent to a region that is none"
    );
}
