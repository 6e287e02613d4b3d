//! People are asked once, about what is so, and their answer ends the stage.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::{Key, Store, Write};
use gennaker_domain::approval::{Approval, Choice, State, Via, Vote};
use gennaker_domain::{Execution, StageRecord, Status};
use gennaker_lambda::{Call, Refusal, Runtime, Wake};
use gennaker_manual_judgment::ManualJudgment;
use gennaker_testkit::{Faults, MemoryFunctions, MemoryTable, at_every_call, sample};
use serde_json::{Value, json};

struct NobodyToWake;

#[async_trait::async_trait]
impl Wake for NobodyToWake {
    async fn wake(&self, _event: Value) -> Result<(), gennaker_cloud::CloudError> {
        Ok(())
    }
}

struct World {
    faults: Faults,
    store: Store,
    functions: MemoryFunctions,
    execution: Execution,
    runtime: Runtime<ManualJudgment>,
}

/// A bake that made an image, and a judgment behind it.
async fn world(stage: Value) -> World {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    let quiet = Store::new(Arc::new(table.without_faults()));
    let functions = MemoryFunctions::with_faults(faults.clone());
    let plan = sample::plan(json!([
        {"refId": "1", "type": "bake"},
        {"refId": "2", "type": "manualJudgment", "requisites": ["1"], "woken": true, "context": stage},
    ]));
    let execution = sample::running(&quiet, &plan, 1).await.unwrap();
    let judgment = ManualJudgment::new(Arc::new(functions.clone()), || Ok([7; 32]));
    let store = Store::new(Arc::new(table));
    let world = World {
        faults,
        store: quiet,
        functions,
        execution,
        runtime: Runtime::new(judgment, store, Arc::new(NobodyToWake), "g"),
    };
    world.bake("sha256:a").await;
    world
}

impl World {
    async fn bake(&self, digest: &str) {
        let outputs = json!({"artifacts": [{"type": "docker/image", "name": "web", "reference": format!("web@{digest}")}]});
        let record = StageRecord {
            status: Status::Succeeded,
            outputs: outputs.as_object().cloned().unwrap(),
            ..StageRecord::not_started("1")
        };
        let id = &self.execution.id;
        // A restart of the stage takes its record away.
        let key = Key::stage(id, "1");
        self.store.table().write(Write::delete(key)).await.unwrap();
        self.store.settle_stage(id, &record).await.unwrap();
    }

    async fn call(&self, now: i64) -> Result<(), Refusal> {
        let call = Call {
            event: json!({"run": self.execution.id.run(1), "stage": "2"}),
            request_id: format!("request-{now}"),
            deadline: now + 1,
            now,
        };
        self.runtime.handle(&call).await
    }

    async fn approval(&self) -> Option<Approval> {
        let run = self.execution.id.run(1);
        self.store.approval(&run, "2").await.unwrap()
    }

    async fn record(&self) -> StageRecord {
        let record = self.store.stage(&self.execution.id, "2").await.unwrap();
        record.unwrap()
    }

    async fn vote(&self, choice: Choice, at: i64) {
        let vote = Vote {
            choice,
            input: Some("blue".to_owned()),
            reason: Some("looks right".to_owned()),
            by: "ada".to_owned(),
            roles: Vec::new(),
            via: Via::Call,
            at,
        };
        let id = self.approval().await.unwrap().id;
        self.store.vote(&id, None, &vote).await.unwrap();
    }

    /// Occasions and rounds that `notify` was told of.
    fn told(&self) -> Vec<(String, u64)> {
        self.functions
            .distinct()
            .iter()
            .map(|(name, event)| {
                assert_eq!(name, "g-notify:live");
                let when = event["when"].as_str().unwrap().to_owned();
                (when, event["round"].as_u64().unwrap())
            })
            .collect()
    }
}

#[tokio::test]
async fn a_crash_at_any_call_asks_once_and_the_answer_ends_the_stage() {
    at_every_call(async |strike| {
        let world = world(json!({"instructions": "Ship it?"})).await;
        let clock = std::cell::Cell::new(10);
        let armed = strike.arm(&world.faults);
        let look = async || {
            clock.set(clock.get() + 100);
            world.call(clock.get()).await
        };
        armed.until_answered(look).await;
        let asked = world.approval().await.unwrap();
        assert_eq!((asked.round, asked.is_pending()), (1, true));
        world.vote(Choice::Continue, clock.get()).await;
        armed.until_answered(look).await;
        let record = world.record().await;
        assert_eq!(record.status, Status::Succeeded);
        assert_eq!(record.outputs["judgmentInput"], "blue");
        assert_eq!(record.context["lastModifiedBy"], "ada");
        assert_eq!(record.context["judgmentReason"], "looks right");
        assert_eq!(
            world.told(),
            [
                ("manualJudgment".to_owned(), 1),
                ("manualJudgmentContinue".to_owned(), 1)
            ]
        );
        let kept = world.approval().await.unwrap();
        assert_eq!((kept.code, kept.round), (asked.code, 1));
        armed.finish()
    })
    .await;
}

#[tokio::test]
async fn another_look_at_the_same_question_tells_nobody_again() {
    let world = world(json!({})).await;
    for now in [10, 200, 3_600_000] {
        world.call(now).await.unwrap();
    }
    assert_eq!(world.functions.invoked().len(), 1);
    assert_eq!(
        world.record().await.waiting.as_deref(),
        Some("waits for a person to decide")
    );
}

#[tokio::test]
async fn who_wants_to_be_reminded_is() {
    let stage =
        json!({"notifications": [{"type": "slack", "address": "#a", "notifyEveryMs": 1_000_000}]});
    let world = world(stage).await;
    for now in [10, 500_000, 1_200_000, 1_300_000] {
        world.call(now).await.unwrap();
    }
    let reminders: Vec<Value> = world
        .functions
        .invoked()
        .into_iter()
        .map(|(_, event)| event["reminder"].clone())
        .collect();
    assert_eq!(reminders, [json!(0), json!(1)]);
}

#[tokio::test]
async fn an_answer_about_another_image_counts_no_more_and_it_is_asked_again() {
    let world = world(json!({})).await;
    world.call(10).await.unwrap();
    world.vote(Choice::Continue, 20).await;
    world.bake("sha256:b").await;
    world.call(200).await.unwrap();
    let again = world.approval().await.unwrap();
    assert_eq!((again.round, again.is_pending()), (2, true));
    assert_eq!(
        again.question.changes,
        [
            "new: docker/image web@sha256:b",
            "gone: docker/image web@sha256:a"
        ]
    );
    assert!(again.votes.is_empty());
    assert_eq!(world.record().await.status, Status::Running);
    assert_eq!(
        world.told(),
        [
            ("manualJudgment".to_owned(), 1),
            ("manualJudgment".to_owned(), 2)
        ]
    );
    world.vote(Choice::Continue, 300).await;
    world.call(400).await.unwrap();
    assert_eq!(world.record().await.status, Status::Succeeded);
}

#[tokio::test]
async fn a_stop_fails_the_stage_with_the_reason() {
    let world = world(json!({})).await;
    world.call(10).await.unwrap();
    world.vote(Choice::Stop, 20).await;
    // A Task that sleeps is told by `wake`.
    world.call(200).await.unwrap();
    let record = world.record().await;
    assert_eq!(record.status, Status::Terminal);
    assert_eq!(
        record.failure.unwrap().reason,
        "ada answered stop (`blue`): looks right"
    );
}

#[tokio::test]
async fn silence_is_what_the_stage_says_and_closes_the_question() {
    for (succeeds, status) in [(false, Status::Terminal), (true, Status::Succeeded)] {
        let stage = json!({"stageTimeoutMs": 60_000, "markSuccessfulOnTimeout": succeeds});
        let world = world(stage).await;
        world.call(10).await.unwrap();
        let _ = world.call(70_000).await;
        assert_eq!(world.record().await.status, status);
        let approval = world.approval().await.unwrap();
        assert_eq!(approval.state, State::Expired { at: 70_000 });
        let (when, _) = world.told().pop().unwrap();
        let expected = if succeeds {
            "manualJudgmentContinue"
        } else {
            "manualJudgmentStop"
        };
        assert_eq!(when, expected);
    }
}

#[tokio::test]
async fn an_answer_in_time_counts_when_it_is_seen_late() {
    let world = world(json!({"stageTimeoutMs": 60_000})).await;
    world.call(10).await.unwrap();
    world.vote(Choice::Continue, 50_000).await;
    world.call(70_000).await.unwrap();
    assert_eq!(world.record().await.status, Status::Succeeded);
}

#[tokio::test]
async fn rules_that_cannot_be_read_fail_the_stage_and_ask_nobody() {
    let world = world(json!({"requiredApprovals": 0})).await;
    world.call(10).await.unwrap();
    let record = world.record().await;
    assert!(
        record
            .failure
            .unwrap()
            .reason
            .contains("stages[2].requiredApprovals")
    );
    assert!(world.approval().await.is_none() && world.functions.invoked().is_empty());
}
