//! The stage against hosts that keep state.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gennaker_cloud::User;
use gennaker_domain::{StageRecord, Status};
use gennaker_http::{Method, Request, Response};
use gennaker_testkit::http::{host_and_path, response};
use gennaker_testkit::{Behaviour, Drive, End, MemoryHttp, MemorySecrets, drive, fault_everywhere};
use gennaker_webhook::Webhook;
use serde_json::{Value, json};

const HOST: &str = "jobs.example.com";

/// Jobs by number: how often each was looked at, and whether it was called off.
#[derive(Clone, Default)]
struct Jobs {
    state: Arc<Mutex<BTreeMap<usize, (usize, bool)>>>,
}

impl Jobs {
    /// A server that begins a job at a POST. A job says `queued`, `running` and then `last`; a DELETE calls it off.
    fn serve(http: &MemoryHttp, last: Value) -> Self {
        let jobs = Self::default();
        let state = Arc::clone(&jobs.state);
        http.serve(HOST, move |request| {
            let mut jobs = state.lock().unwrap();
            let (_, path) = host_and_path(&request.url);
            let id = path.rsplit('/').next().and_then(|id| id.parse::<usize>().ok());
            match (request.method, id) {
                (Method::Post, None) => {
                    let id = jobs.len() + 1;
                    jobs.insert(id, (0, false));
                    let url = format!("https://{HOST}/jobs/{id}");
                    let body = json!({ "id": id, "status": { "url": url }, "artifacts": [
                        { "type": "docker/image", "name": "shop", "version": "7", "reference": "shop:7" },
                    ] });
                    let mut answer = response(request, 201, body.to_string());
                    answer.headers.push(("location".to_owned(), format!("/jobs/{id}")));
                    answer
                }
                (Method::Get, Some(id)) if jobs.contains_key(&id) => {
                    let job = jobs.get_mut(&id).unwrap();
                    job.0 += 1;
                    let state = match job.0 {
                        1 => json!("queued"),
                        2 => json!("running"),
                        _ => last.clone(),
                    };
                    let body = json!({ "job": { "state": state, "log": format!("look {}", job.0) } });
                    response(request, 200, body.to_string())
                }
                (Method::Delete, Some(id)) if jobs.contains_key(&id) => {
                    jobs.get_mut(&id).unwrap().1 = true;
                    response(request, 200, "{}")
                }
                _ => response(request, 404, "{}"),
            }
        });
        jobs
    }

    fn made(&self) -> usize {
        self.state.lock().unwrap().len()
    }

    fn called_off(&self) -> Vec<usize> {
        let jobs = self.state.lock().unwrap();
        jobs.iter()
            .filter(|(_, job)| job.1)
            .map(|(id, _)| *id)
            .collect()
    }
}

/// A host that gives these answers one after the other, the last one for ever.
fn answers(http: &MemoryHttp, codes: &'static [(u16, &'static str)]) {
    let mut at = 0;
    http.serve(HOST, move |request| {
        let (code, body) = codes[at.min(codes.len() - 1)];
        at += 1;
        response(request, code, body)
    });
}

struct Case {
    drive: Drive,
    http: MemoryHttp,
    secrets: MemorySecrets,
}

async fn case(more: Value) -> Case {
    let mut context = json!({ "url": format!("https://{HOST}/jobs"), "payload": { "tag": "v1" } });
    context
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let plan = vec![drive::stage("1", "webhook", "webhook", context)];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let http = MemoryHttp::with_faults(drive.faults.clone());
    let secrets = MemorySecrets::with_faults(drive.faults.clone());
    Case {
        drive,
        http,
        secrets,
    }
}

impl Case {
    fn stage(&self) -> Webhook {
        Webhook::new(Arc::new(self.http.clone()), Arc::new(self.secrets.clone()))
    }

    async fn run(&self) -> End {
        self.drive
            .to_end(&self.drive.runtime(self.stage()), "1")
            .await
    }

    async fn record(&self) -> StageRecord {
        self.drive.records().await.unwrap().remove("1").unwrap()
    }

    fn methods(&self) -> Vec<&'static str> {
        self.http
            .received()
            .iter()
            .map(|request| request.method.as_str())
            .collect()
    }

    fn seconds(&self) -> i64 {
        (self.drive.world.now() - 1_800_000_000_000) / 1_000
    }
}

/// How a job's end is waited for.
fn monitored() -> Value {
    json!({
        "waitForCompletion": true, "statusUrlResolution": "locationHeader", "statusJsonPath": "$.job.state",
        "progressJsonPath": "$.job.log", "successStatuses": "done", "canceledStatuses": "stopped", "terminalStatuses": "failed",
    })
}

fn with(mut value: Value, more: Value) -> Value {
    value
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    value
}

fn failed(end: &End) -> &str {
    match end {
        End::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn calls_once_and_tells_what_it_was_answered() {
    let case = case(json!({ "customHeaders": { "X-Team": "shop" } })).await;
    let jobs = Jobs::serve(&case.http, json!("done"));
    assert_eq!(case.run().await, End::Done);
    assert_eq!((jobs.made(), case.methods()), (1, vec!["POST"]));
    let record = case.record().await;
    let webhook = &record.context["webhook"];
    assert_eq!(
        (&webhook["statusCode"], &webhook["statusCodeValue"]),
        (&json!("CREATED"), &json!(201))
    );
    assert_eq!(
        (&webhook["body"]["id"], &webhook["headers"]["Location"]),
        (&json!(1), &json!("/jobs/1"))
    );
    assert!(
        record.outputs.is_empty(),
        "artifacts are bound only where they are expected"
    );
    let request = &case.http.received()[0];
    assert_eq!(request.body, br#"{"tag":"v1"}"#);
    let header = |name: &str| {
        request
            .headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(
        (header("X-Team"), header("Content-Type")),
        (Some("shop"), Some("application/json"))
    );
    assert!(header("Idempotency-Key").is_some_and(|key| key.ends_with("-1-1")));
}

#[tokio::test]
async fn waits_for_the_job_that_it_began() {
    for resolution in [
        json!({}),
        json!({ "statusUrlResolution": "webhookResponse", "statusUrlJsonPath": "$.status.url" }),
    ] {
        let case = case(with(monitored(), resolution)).await;
        Jobs::serve(&case.http, json!("Done"));
        assert_eq!(case.run().await, End::Done);
        assert_eq!(case.methods(), ["POST", "GET", "GET", "GET"]);
        let webhook = case.record().await.context["webhook"].clone();
        assert_eq!(webhook["statusEndpoint"], format!("https://{HOST}/jobs/1"));
        assert_eq!(webhook["body"]["id"], 1, "the first answer stays");
        let monitor = &webhook["monitor"];
        assert_eq!(
            (&monitor["resolvedValue"], &monitor["progressMessage"]),
            (&json!("Done"), &json!("look 3"))
        );
    }
}

#[tokio::test]
async fn a_job_that_fails_or_is_stopped_ends_the_stage_so() {
    for (last, status, text) in [
        ("failed", Status::Terminal, "\"failed\""),
        ("stopped", Status::Canceled, ""),
    ] {
        let case = case(monitored()).await;
        Jobs::serve(&case.http, json!(last));
        let end = case.run().await;
        assert!(failed(&end).contains(text), "{end:?}");
        let record = case.record().await;
        assert_eq!((record.status, record.task_status), (status, Some(status)));
        assert_eq!(record.context["webhook"]["monitor"]["resolvedValue"], last);
    }
}

#[tokio::test]
async fn a_percentage_of_100_is_the_end() {
    let case = case(monitored()).await;
    Jobs::serve(&case.http, json!(100));
    assert_eq!(case.run().await, End::Done);
    assert_eq!(
        case.record().await.context["webhook"]["monitor"]["percentComplete"],
        100
    );
}

#[tokio::test]
async fn the_first_look_comes_after_its_pause_and_the_last_one_within_the_limit() {
    let case_paused = case(with(monitored(), json!({ "waitBeforeMonitor": "90" }))).await;
    Jobs::serve(&case_paused.http, json!("done"));
    assert_eq!(case_paused.run().await, End::Done);
    assert!(
        case_paused.seconds() >= 90 + 20,
        "{}",
        case_paused.seconds()
    );
    let endless = case(monitored()).await;
    Jobs::serve(&endless.http, json!("running"));
    assert!(failed(&endless.run().await).contains("within an hour"));
    assert!(
        (3_600..3_800).contains(&endless.seconds()),
        "{}",
        endless.seconds()
    );
    let own = case(with(monitored(), json!({ "stageTimeoutMs": 120_000 }))).await;
    Jobs::serve(&own.http, json!("running"));
    assert!(failed(&own.run().await).contains("time-out"));
    assert!((120..140).contains(&own.seconds()), "{}", own.seconds());
}

#[tokio::test]
async fn codes_are_retried_as_the_stage_says() {
    let again = case(json!({})).await;
    answers(&again.http, &[(503, ""), (429, ""), (200, "fine")]);
    assert_eq!(again.run().await, End::Done);
    assert_eq!(again.methods().len(), 3);
    assert_eq!(again.record().await.context["webhook"]["body"], "fine");
    for (more, codes, calls) in [
        (json!({}), &[(404, "no")][..], 1),
        (json!({}), &[(504, "")][..], 1),
        (
            json!({ "retries": { "503": { "maxAttempts": 2 } } }),
            &[(503, "")][..],
            3,
        ),
        (json!({ "failFastStatusCodes": [503] }), &[(503, "")][..], 1),
        // Five minutes of ten seconds each.
        (json!({}), &[(500, "")][..], 31),
    ] {
        let case = case(more.clone()).await;
        answers(&case.http, codes);
        failed(&case.run().await);
        assert_eq!(case.methods().len(), calls, "{more} {codes:?}");
        assert!(case.record().await.context["webhook"]["error"].is_string());
    }
    let looks = case(with(
        monitored(),
        json!({ "statusUrlResolution": "getMethod", "method": "GET", "retryStatusCodes": [404] }),
    ))
    .await;
    answers(
        &looks.http,
        &[
            (200, "{}"),
            (404, "{}"),
            (502, "{}"),
            (200, r#"{"job":{"state":"done","log":""}}"#),
        ],
    );
    assert_eq!(looks.run().await, End::Done);
    assert_eq!(looks.methods().len(), 4);
}

#[tokio::test]
async fn an_address_without_an_answer_is_told() {
    let nobody = case(json!({})).await;
    assert!(failed(&nobody.run().await).contains("5 minutes"));
    assert!(nobody.seconds() > 300);
    let no_status =
        case(json!({ "waitForCompletion": true, "statusUrlResolution": "locationHeader" })).await;
    answers(&no_status.http, &[(200, "{}")]);
    assert!(failed(&no_status.run().await).contains("The status URL couldn't be resolved"));
    let unresolved = case(json!({ "waitForCompletion": true, "statusUrlResolution": "webhookResponse", "statusUrlJsonPath": "$.none" })).await;
    answers(&unresolved.http, &[(200, "{}")]);
    assert!(failed(&unresolved.run().await).contains("The status URL couldn't be resolved"));
}

#[tokio::test]
async fn a_monitor_alone_calls_nothing_first() {
    let case = case(json!({
        "monitorOnly": true, "waitForCompletion": true, "method": "GET", "statusJsonPath": "state", "successStatuses": "ok",
    }))
    .await;
    answers(
        &case.http,
        &[(200, r#"{"state":"wait"}"#), (200, r#"{"state":"ok"}"#)],
    );
    assert_eq!(case.run().await, End::Done);
    assert_eq!(case.methods(), ["GET", "GET"]);
    assert!(
        case.drive.intents().await.unwrap().is_empty(),
        "nothing is there to undo"
    );
}

#[tokio::test]
async fn expected_artifacts_are_bound_to_what_the_answer_lists() {
    let expected = |name: &str| json!({ "expectedArtifacts": [{ "id": "image", "matchArtifact": { "type": "docker/image", "name": name } }] });
    let case_found = case(expected("sh.p")).await;
    Jobs::serve(&case_found.http, json!("done"));
    assert_eq!(case_found.run().await, End::Done);
    let outputs = case_found.record().await.outputs;
    assert_eq!(outputs["artifacts"][0]["reference"], "shop:7");
    assert_eq!(
        outputs["resolvedExpectedArtifacts"][0]["boundArtifact"]["version"],
        "7"
    );
    let missing = case(expected("other")).await;
    Jobs::serve(&missing.http, json!("done"));
    assert!(failed(&missing.run().await).contains("Unmatched expected artifact `image`"));
}

#[tokio::test]
async fn an_accounts_headers_go_to_its_own_hosts_and_win_over_the_stages() {
    for (host, arrives) in [(HOST, true), ("other.example.com", false)] {
        let more = json!({ "account": "ci", "customHeaders": { "authorization": "mine", "X-Team": "shop" } });
        let case = case(more).await;
        assert!(case.secrets.put("ssm:/gennaker/ci", "hunter2"));
        let account = json!({ "name": "ci", "hosts": [host], "headers": { "Authorization": "Bearer ssm:/gennaker/ci" } });
        case.drive
            .store()
            .save_webhook_account("ci", &account)
            .await
            .unwrap();
        Jobs::serve(&case.http, json!("done"));
        let end = case.run().await;
        if !arrives {
            assert!(
                failed(&end).contains("are for other.example.com"),
                "{end:?}"
            );
            assert!(case.http.received().is_empty(), "nothing was sent");
            continue;
        }
        assert_eq!(end, End::Done);
        let request = &case.http.received()[0];
        let sent: Vec<&str> = request
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(sent, ["Bearer hunter2"]);
        assert!(request.headers.iter().any(|(name, _)| name == "X-Team"));
    }
    let unknown = case(json!({ "account": "nobody" })).await;
    assert!(failed(&unknown.run().await).contains("there is no webhook account `nobody`"));
}

#[tokio::test]
async fn a_webhook_for_some_roles_is_not_called_for_users_of_others() {
    for (roles, begins) in [(["sre"], true), (["dev"], false)] {
        let case = case(json!({ "allowedRoles": ["SRE"] })).await;
        let user = User {
            name: "ann".to_owned(),
            roles: roles.map(str::to_owned).to_vec(),
            ..User::default()
        };
        user.save(&case.drive.store()).await.unwrap();
        let trigger = json!({ "type": "manual", "user": "ann" });
        let id = &case.drive.run().execution;
        case.drive
            .put(
                &format!("EXEC#{id}"),
                "TRIGGER",
                &json!({ "trigger": trigger.to_string() }),
            )
            .await
            .unwrap();
        let jobs = Jobs::serve(&case.http, json!("done"));
        let end = case.run().await;
        assert_eq!(jobs.made(), usize::from(begins), "{end:?}");
        if !begins {
            assert!(failed(&end).contains("one of the roles SRE"), "{end:?}");
        }
    }
}

#[tokio::test]
async fn secrets_are_sent_and_never_kept() {
    let case =
        case(json!({ "customHeaders": { "Authorization": "Bearer ssm:/gennaker/hook" } })).await;
    assert!(case.secrets.put("ssm:/gennaker/hook", "hunter2"));
    case.http.serve(HOST, |request: &Request| -> Response {
        let echo: Vec<String> = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        response(request, 200, json!({ "echo": echo }).to_string())
    });
    assert_eq!(case.run().await, End::Done);
    let sent = &case.http.received()[0].headers;
    assert!(
        sent.iter()
            .any(|(name, value)| name == "Authorization" && value == "Bearer hunter2")
    );
    let kept = case.drive.table.without_faults();
    let everything = format!(
        "{:?} {:?}",
        case.record().await,
        case.drive.intents().await.unwrap()
    );
    assert!(!everything.contains("hunter2"), "{everything}");
    let partition = gennaker_cloud::Key::execution_partition(&case.drive.run().execution);
    let items = gennaker_cloud::Table::query(&kept, &partition, "")
        .await
        .unwrap();
    assert!(!format!("{items:?}").contains("hunter2"));
    assert!(format!("{items:?}").contains("Bearer ***"));
}

#[tokio::test]
async fn a_cancel_calls_the_job_off_with_what_the_webhook_answered() {
    let cancel = json!({ "cancelEndpoint": format!("https://{HOST}/jobs/${{webhook.body.id}}"), "cancelMethod": "DELETE", "signalCancellation": true });
    let case = case(with(monitored(), cancel)).await;
    let jobs = Jobs::serve(&case.http, json!("running"));
    let runtime = case.drive.runtime(case.stage());
    let event = json!({ "run": case.drive.run(), "stage": "1" });
    for _ in 0..3 {
        let (name, _) = case.drive.call(&runtime, &event).await.unwrap();
        assert_eq!(name, "Waiting10s");
        case.drive.world.advance(10_000);
    }
    assert_eq!(case.drive.undo(&runtime, "1").await.unwrap(), End::Done);
    assert_eq!((jobs.made(), jobs.called_off()), (1, vec![1]));
    let intent = &case.drive.intents().await.unwrap()[0];
    assert_eq!(
        intent.result.as_deref(),
        Some("called off: the cancel endpoint answered 200")
    );
    // Again: it is closed.
    assert_eq!(case.drive.undo(&runtime, "1").await.unwrap(), End::Done);
    assert_eq!(
        case.methods()
            .iter()
            .filter(|method| **method == "DELETE")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_job_that_has_ended_is_not_called_off_and_a_dead_endpoint_is_given_up() {
    let endpoint = |host: &str| json!({ "cancelEndpoint": format!("https://{host}/cancel") });
    let ended = case(with(monitored(), endpoint(HOST))).await;
    let jobs = Jobs::serve(&ended.http, json!("failed"));
    let runtime = ended.drive.runtime(ended.stage());
    failed(&ended.drive.to_end(&runtime, "1").await);
    assert_eq!(ended.drive.undo(&runtime, "1").await.unwrap(), End::Done);
    assert!(jobs.called_off().is_empty());
    assert!(
        !ended.methods().contains(&"DELETE")
            && ended.methods().iter().filter(|m| **m == "POST").count() == 1
    );
    let dead = case(with(monitored(), endpoint("nobody.example.com"))).await;
    Jobs::serve(&dead.http, json!("running"));
    let runtime = dead.drive.runtime(dead.stage());
    let event = json!({ "run": dead.drive.run(), "stage": "1" });
    dead.drive.call(&runtime, &event).await.unwrap();
    assert_eq!(dead.drive.undo(&runtime, "1").await.unwrap(), End::Done);
    let result = dead.drive.intents().await.unwrap()[0]
        .result
        .clone()
        .unwrap();
    assert!(result.starts_with("not called off"), "{result}");
}

#[tokio::test]
async fn whatever_fails_the_job_is_begun_at_most_once_and_its_end_is_waited_for() {
    let tried = fault_everywhere(async |strike| {
        let cancel = json!({ "cancelEndpoint": format!("https://{HOST}/jobs/1"), "cancelMethod": "DELETE", "customHeaders": { "X": "ssm:/gennaker/hook" } });
        let case = case(with(monitored(), cancel)).await;
        case.secrets.put("ssm:/gennaker/hook", "hunter2");
        let jobs = Jobs::serve(&case.http, json!("done"));
        case.drive.faults.arm(strike);
        let end = case.run().await;
        match &end {
            End::Done => assert_eq!(jobs.made(), 1, "{strike:?}"),
            // The process died between the announcement of the call and its answer.
            End::Failed(reason) => {
                assert!(reason.contains("is not known"), "{strike:?}: {reason}");
                assert!(jobs.made() <= 1, "{strike:?}");
            }
            other => panic!("{strike:?}: {other:?}"),
        }
        if end != End::Done {
            let runtime = case.drive.runtime(case.stage());
            assert_eq!(case.drive.undo(&runtime, "1").await.unwrap(), End::Done);
            assert_eq!(jobs.called_off().len(), jobs.made(), "{strike:?}: what may have begun is called off");
        }
        case.drive.faults.calls().len()
    })
    .await;
    assert!(tried > 30, "{tried}");
}

#[tokio::test]
async fn whatever_fails_a_get_is_made_again() {
    fault_everywhere(async |strike| {
        let case = case(json!({ "method": "GET", "statusUrlResolution": "getMethod" })).await;
        answers(&case.http, &[(200, "{}")]);
        case.drive.faults.arm(strike);
        assert_eq!(case.run().await, End::Done, "{strike:?}");
        case.drive.faults.calls().len()
    })
    .await;
}

#[tokio::test]
async fn whatever_fails_while_it_is_undone_the_job_is_called_off() {
    fault_everywhere(async |strike| {
        let cancel =
            json!({ "cancelEndpoint": format!("https://{HOST}/jobs/1"), "cancelMethod": "DELETE" });
        let case = case(with(monitored(), cancel)).await;
        let jobs = Jobs::serve(&case.http, json!("running"));
        let runtime = case.drive.runtime(case.stage());
        let event = json!({ "run": case.drive.run(), "stage": "1" });
        case.drive.call(&runtime, &event).await.unwrap();
        let before = case.drive.faults.arm(strike);
        assert_eq!(
            case.drive.undo(&runtime, "1").await.unwrap(),
            End::Done,
            "{strike:?}"
        );
        assert_eq!(jobs.called_off(), [1], "{strike:?}");
        case.drive.faults.calls().len() - before
    })
    .await;
}
