//! What artifacts hold, read from hosts, buckets and secrets that keep state.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_artifacts::{Artifacts, ContentError};
use gennaker_cloud::Store;
use gennaker_testkit::{MemoryHttp, MemoryObjects, MemorySecrets, MemoryTable, http};
use serde_json::{Value, json};

struct Shelf {
    artifacts: Artifacts,
    store: Store,
    http: MemoryHttp,
    objects: MemoryObjects,
}

impl Shelf {
    /// Hosts that answer 404 without the right header, and the accounts that have it.
    async fn new() -> Self {
        let (http, objects, secrets) = (
            MemoryHttp::new(),
            MemoryObjects::default(),
            MemorySecrets::new(),
        );
        assert!(secrets.put("ssm:/gennaker/token", "hunter2\n"));
        for (host, name, value) in [
            ("api.github.com", "authorization", "token hunter2"),
            ("gitlab.com", "private-token", "hunter2"),
            ("api.bitbucket.org", "authorization", "Bearer hunter2"),
            // printf ann:hunter2 | base64
            (
                "files.example.com",
                "authorization",
                "Basic YW5uOmh1bnRlcjI=",
            ),
        ] {
            http.serve(host, move |request| {
                let signed = request
                    .headers
                    .contains(&(name.to_owned(), value.to_owned()));
                let status = if signed { 200 } else { 404 };
                http::response(request, status, host)
            });
        }
        let store = Store::new(Arc::new(MemoryTable::default()));
        let token = |kind: &str| json!({ "type": kind, "token": "ssm:/gennaker/token" });
        for (name, account) in [
            ("hub", token("github")),
            ("lab", token("gitlab/file")),
            ("bucket", token("bitbucket")),
            (
                "web",
                json!({ "type": "http", "address": "https://files.example.com", "username": "ann", "password": "ssm:/gennaker/token" }),
            ),
            (
                "lost",
                json!({ "type": "github", "token": "ssm:/gennaker/none" }),
            ),
        ] {
            store.save_artifact_account(name, &account).await.unwrap();
        }
        let artifacts = Artifacts::new(
            Arc::new(http.clone()),
            Arc::new(objects.clone()),
            Arc::new(secrets),
        );
        Self {
            artifacts,
            store,
            http,
            objects,
        }
    }

    async fn read(&self, artifact: Value) -> Result<String, ContentError> {
        let content = self.artifacts.content(&self.store, &artifact, 0).await?;
        Ok(String::from_utf8(content).unwrap())
    }

    async fn refused(&self, artifact: Value) -> String {
        match self.read(artifact.clone()).await {
            Err(ContentError::Never(reason)) => reason,
            other => panic!("{artifact}: {other:?}"),
        }
    }
}

fn file(kind: &str, reference: &str, account: &str) -> Value {
    json!({ "type": kind, "reference": reference, "artifactAccount": account, "location": "a.json", "version": "main" })
}

#[tokio::test]
async fn private_files_are_read_with_their_accounts_credentials() {
    let shelf = Shelf::new().await;
    for (artifact, host) in [
        (
            file(
                "github/file",
                "https://api.github.com/repos/o/r/contents/a.json",
                "hub",
            ),
            "api.github.com",
        ),
        (
            file("git/repo", "git@github.com:o/r.git", "hub"),
            "api.github.com",
        ),
        (
            file(
                "gitlab/file",
                "https://gitlab.com/api/v4/projects/7/repository/files/a.json/raw",
                "lab",
            ),
            "gitlab.com",
        ),
        (
            file("git/repo", "https://gitlab.com/o/r.git", "lab"),
            "gitlab.com",
        ),
        (
            file(
                "bitbucket/file",
                "https://api.bitbucket.org/2.0/repositories/w/r/src/main/a.json",
                "bucket",
            ),
            "api.bitbucket.org",
        ),
        (
            file("git/repo", "https://bitbucket.org/w/r", "bucket"),
            "api.bitbucket.org",
        ),
        (
            file("http/file", "https://files.example.com/a.json", "web"),
            "files.example.com",
        ),
    ] {
        assert_eq!(shelf.read(artifact).await.unwrap(), host);
    }
    let asked = shelf.http.received();
    assert!(
        asked[0]
            .url
            .ends_with("/repos/o/r/contents/a.json?ref=main")
    );
    let raw = (
        "accept".to_owned(),
        "application/vnd.github.v3.raw".to_owned(),
    );
    assert!(asked[0].headers.contains(&raw), "GitHub would answer JSON");
}

#[tokio::test]
async fn credentials_go_to_their_own_address_only() {
    let shelf = Shelf::new().await;
    for (kind, reference, account) in [
        (
            "github/file",
            "https://evil.example.com/repos/o/r/contents/a",
            "hub",
        ),
        (
            "github/file",
            "http://api.github.com/repos/o/r/contents/a",
            "hub",
        ),
        (
            "http/file",
            "https://api.github.com/repos/o/r/contents/a",
            "hub",
        ),
        ("gitlab/file", "https://api.github.com/x", "hub"),
        ("http/file", "https://files.example.com:444/a", "web"),
        ("git/repo", "https://gitlab.com/o/r", "hub"),
    ] {
        let reason = shelf.refused(file(kind, reference, account)).await;
        assert!(reason.contains("is not for files of type"), "{reason}");
    }
    assert!(shelf.http.received().is_empty());
}

#[tokio::test]
async fn an_account_that_is_not_saved_is_none_and_a_refusal_says_so() {
    let shelf = Shelf::new().await;
    let address = "https://api.github.com/repos/o/r/contents/a.json";
    let reason = shelf.refused(file("github/file", address, "other")).await;
    assert!(
        reason.contains("answers 404") && reason.contains("`other`"),
        "{reason}"
    );
    let reason = shelf.refused(file("github/file", address, "")).await;
    assert!(!reason.contains("artifact account"), "{reason}");
    let reason = shelf.refused(file("github/file", address, "lost")).await;
    assert!(reason.contains("ParameterNotFound"), "{reason}");
    let embedded = file("embedded/base64", "aGVsbG8=", "embedded-artifact");
    assert_eq!(shelf.read(embedded).await.unwrap(), "hello");
}

#[tokio::test]
async fn objects_are_read_in_their_newest_version_or_in_the_one_that_is_named() {
    let shelf = Shelf::new().await;
    let first = shelf.objects.put("shop", "d/a.json", "one");
    shelf.objects.put("shop", "d/a.json", "two");
    let object = json!({ "type": "s3/object", "reference": "s3://shop/d/a.json" });
    assert_eq!(shelf.read(object.clone()).await.unwrap(), "two");
    let mut old = object;
    old["version"] = json!(first);
    assert_eq!(shelf.read(old).await.unwrap(), "one");
    let reason = shelf
        .refused(json!({ "type": "s3/object", "reference": "s3://shop/none" }))
        .await;
    assert!(
        reason.contains("NoSuchKey") && reason.contains("s3://shop/none"),
        "{reason}"
    );
    shelf.objects.put(
        "shop",
        "large",
        vec![b'x'; gennaker_artifacts::MAX_BYTES + 1],
    );
    let reason = shelf
        .refused(json!({ "type": "s3/object", "reference": "s3://shop/large" }))
        .await;
    assert!(reason.contains("more than"), "{reason}");
}

#[tokio::test]
async fn what_may_pass_is_told_from_what_does_not() {
    let shelf = Shelf::new().await;
    shelf.http.serve("slow.example.com", |request| {
        let status = if request.url.ends_with("/busy") {
            503
        } else {
            403
        };
        http::response(request, status, "")
    });
    let busy = shelf
        .read(file("http/file", "https://slow.example.com/busy", ""))
        .await;
    assert!(matches!(busy, Err(ContentError::NotNow(_))), "{busy:?}");
    let reason = shelf
        .refused(file("http/file", "https://slow.example.com/no", ""))
        .await;
    assert!(reason.contains("403"), "{reason}");
}
