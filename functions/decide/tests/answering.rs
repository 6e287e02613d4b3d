//! Who may answer a judgment, and what becomes of each answer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod front;

use front::{World, world};
use gennaker_cloud::{Identity, User, UserError};
use gennaker_domain::StageRecord;
use gennaker_domain::Status;
use gennaker_testkit::{at_every_call, sample};
use serde_json::{Value, json};

fn user(name: &str, roles: &[&str]) -> User {
    User {
        name: name.to_owned(),
        roles: roles.iter().map(|&role| role.to_owned()).collect(),
        email: Some(format!("{name}@example.com")),
        ..User::default()
    }
}

async fn answer(world: &World, user: &str, decision: &str) -> Value {
    let event = json!({
        "execution": world.execution.id, "user": user, "stage": "1", "decision": decision, "reason": "because",
    });
    world.decide.decide(&event, 10).await.unwrap()
}

#[tokio::test]
async fn only_who_has_the_role_decides() {
    let world = world(json!({"selectedStageRoles": ["sre"]})).await;
    user("ada", &["SRE"]).save(&world.store).await.unwrap();
    user("eve", &["sales"]).save(&world.store).await.unwrap();
    for stranger in ["eve", "mallory"] {
        let refused = answer(&world, stranger, "continue").await;
        assert_eq!(refused["problems"][0]["code"], "not-allowed");
    }
    assert!(world.functions.invoked().is_empty());
    let decided = answer(&world, "ada@example.com", "continue").await;
    assert_eq!(decided["decided"]["by"], "ada");
    assert_eq!(decided["decided"]["reason"], "because");
}

#[tokio::test]
async fn who_asked_for_the_execution_may_not_approve_it() {
    let world = world(json!({"preventSelfApproval": true, "requester": "ada@example.com"})).await;
    user("ada", &[]).save(&world.store).await.unwrap();
    user("bob", &[]).save(&world.store).await.unwrap();
    let refused = answer(&world, "ada", "continue").await;
    assert_eq!(refused["problems"][0]["code"], "not-allowed");
    assert_eq!(
        answer(&world, "bob", "continue").await["decided"]["by"],
        "bob"
    );
}

#[tokio::test]
async fn a_quorum_needs_different_people_and_a_crash_at_any_call_counts_each_once() {
    at_every_call(async |strike| {
        let world = world(json!({"requiredApprovals": 2})).await;
        let people = [user("ada", &[]), user("bob", &[])];
        for person in &people {
            person.save(&world.quiet).await.unwrap();
        }
        let event = |user: &str| {
            json!({"execution": world.execution.id, "user": user, "stage": "1", "decision": "continue"})
        };
        let armed = strike.arm(&world.faults);
        let clock = std::cell::Cell::new(10);
        let say = async |user: &str| {
            let event = event(user);
            armed
                .until_answered(async || {
                    clock.set(clock.get() + 1);
                    world.decide.decide(&event, clock.get()).await
                })
                .await
        };
        for _ in 0..2 {
            let first = say("ada").await;
            assert_eq!(first["missing"], "1 more person", "{first}");
        }
        assert!(world.functions.invoked().is_empty());
        let second = say("bob").await;
        assert_eq!(second["decided"]["approvers"], json!(["ada", "bob"]));
        assert_eq!(world.functions.distinct().len(), 1);
        armed.finish()
    })
    .await;
}

#[tokio::test]
async fn an_answer_to_what_is_not_so_any_more_is_not_recorded() {
    let world = world(json!({})).await;
    let mut bake = StageRecord::not_started("0");
    bake.status = Status::Succeeded;
    bake.outputs = json!({"artifacts": [{"type": "docker/image", "name": "web", "reference": "web@sha256:b"}]})
        .as_object()
        .cloned()
        .unwrap();
    world
        .store
        .settle_stage(&world.execution.id, &bake)
        .await
        .unwrap();
    let answer = answer(&world, "ada", "continue").await;
    assert_eq!(answer["problems"][0]["code"], "changed-since-shown");
    let approval = world.approval().await;
    assert!(approval.is_pending() && approval.votes.is_empty());
    // It is called to ask again.
    assert_eq!(world.functions.distinct().len(), 1);
}

#[tokio::test]
async fn a_question_whose_time_is_over_or_whose_run_is_not_the_current_one_takes_no_answer() {
    let late = world(json!({})).await;
    let mut question = sample::question(&late.execution, "2", &json!({}));
    question.expires_at = 5;
    late.store.ask(question, "code").await.unwrap();
    let event = json!({"execution": late.execution.id, "user": "ada", "stage": "2", "decision": "continue"});
    let answer = late.decide.decide(&event, 10).await.unwrap();
    assert_eq!(answer["problems"][0]["code"], "judgment-expired");

    let before = world(json!({})).await;
    let mut again = before.execution.clone();
    again.run = 2;
    let replaced = before.store.replace_execution(&again, Status::Running, 1);
    assert!(replaced.await.unwrap());
    let page = before.get(&before.path().await).await;
    assert!(page["body"].as_str().unwrap().contains("superseded"));
    assert!(!page["body"].as_str().unwrap().contains("<form"));
}

#[tokio::test]
async fn a_name_in_slack_is_one_persons_and_one_that_was_given_up_is_the_next_ones() {
    let world = world(json!({})).await;
    let slack = |name: &str, id: Option<&str>| User {
        slack: id.map(str::to_owned),
        email: None,
        ..user(name, &[])
    };
    slack("ada", Some("U1")).save(&world.store).await.unwrap();
    slack("ada", Some("U1")).save(&world.store).await.unwrap();
    let taken = slack("eve", Some("U1")).save(&world.store).await;
    assert!(matches!(taken, Err(UserError::Taken { identity }) if identity == "U1"));
    assert_eq!(User::find(&world.store, "eve").await.unwrap(), None);
    slack("ada", None).save(&world.store).await.unwrap();
    let found = User::of_identity(&world.store, Identity::Slack, "U1").await;
    assert_eq!(found.unwrap(), None);
    assert_eq!(User::all(&world.store).await.unwrap().len(), 1);
    slack("eve", Some("U1")).save(&world.store).await.unwrap();
    let found = User::of_identity(&world.store, Identity::Slack, "U1").await;
    assert_eq!(found.unwrap().unwrap().name, "eve");
    let taken = slack("ada", Some("U1")).save(&world.store).await;
    assert!(matches!(taken, Err(UserError::Taken { .. })));
}
