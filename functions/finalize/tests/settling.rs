//! However an execution ends, it is settled.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::store::locks::LockAnswer;
use gennaker_cloud::{Key, Store, Write};
use gennaker_domain::deployment::cluster_lock::{ClusterLock, LockedCluster};
use gennaker_domain::{Ending, Execution, Intent, Lease, Plan, StageRecord, Status};
use gennaker_finalize::Finalize;
use gennaker_lambda::FunctionError;
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryStepFunctions, MemoryTable, at_every_call, sample,
};
use serde_json::{Value, json};

struct World {
    faults: Faults,
    store: Store,
    functions: MemoryFunctions,
    finalize: Finalize,
    execution: Execution,
    undone: std::cell::RefCell<Vec<String>>,
}

fn plan() -> Plan {
    sample::plan(json!([
        {"refId": "1", "type": "deploy", "function": null},
        {"refId": "1<1", "type": "createServerGroup", "parent": "1", "owner": "STAGE_BEFORE"},
        {"refId": "1<2", "type": "disableCluster", "parent": "1", "owner": "STAGE_BEFORE",
            "startsAfter": [{"refId": "1<1", "whole": true}]},
        {"refId": "2", "type": "wait", "requisites": ["1"]},
    ]))
}

async fn world() -> World {
    world_of(&plan()).await
}

async fn world_of(plan: &Plan) -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let step_functions = MemoryStepFunctions::with_faults(faults.clone());
    step_functions.add_machine("sample");
    let functions = MemoryFunctions::with_faults(faults.clone());
    sample::save(&store, plan, &[]).await.unwrap();
    let execution = sample::running(&store, plan, 1).await.unwrap();
    World {
        finalize: Finalize::new(
            store.clone(),
            Arc::new(step_functions),
            Arc::new(functions.clone()),
            "g",
        ),
        faults,
        store,
        functions,
        execution,
        undone: std::cell::RefCell::default(),
    }
}

impl World {
    async fn record(&self, ref_id: &str, status: Status, lease_until: Option<i64>) {
        let mut record = StageRecord::not_started(ref_id);
        record.status = status;
        record.run = 1;
        record.lease = lease_until.map(|until| Lease {
            holder: "request".to_owned(),
            until,
        });
        self.store
            .settle_stage(&self.execution.id, &record)
            .await
            .unwrap();
    }

    async fn intent(&self, stage: &str, action: &str, at: i64) {
        let intent = Intent {
            stage: stage.to_owned(),
            action: action.to_owned(),
            function: "create-server-group".to_owned(),
            undo: json!({}),
            at,
            run: 1,
            done: true,
            closed: false,
            result: None,
        };
        let run = self.execution.id.run(1);
        self.store.write_intent(&run, &intent).await.unwrap();
    }

    async fn end(&self, status: Status) {
        let ending = Ending {
            status,
            reason: "said so".to_owned(),
            by: "1<2".to_owned(),
            at: 5,
        };
        let run = self.execution.id.run(1);
        self.store.set_ending(&run, &ending).await.unwrap();
    }

    /// One turn of the machine: finalize, and the undo that it asks for as the stage runtime does it.
    async fn turn(&self, status: &str, failed: Value, now: i64) -> Result<bool, FunctionError> {
        let event = json!({"run": self.execution.id.run(1), "status": status, "cause": "", "failed": failed});
        let answer = self.finalize.turn(&event, now).await?;
        if answer["done"] == true {
            return Ok(true);
        }
        let payload = &answer["undo"]["payload"];
        assert_eq!(answer["undo"]["function"], "g-create-server-group:live");
        let (stage, action) = (
            payload["stage"].as_str().unwrap(),
            payload["undo"].as_str().unwrap(),
        );
        self.undone.borrow_mut().push(action.to_owned());
        self.store
            .close_intent(&self.execution.id, stage, action, Some("undone"))
            .await?;
        Ok(false)
    }

    async fn settle(&self, status: &str, now: i64) {
        for _ in 0..20 {
            if self.turn(status, json!({}), now).await.unwrap() {
                return;
            }
        }
        unreachable!("finalize never ends");
    }

    async fn now_is(&self) -> Execution {
        self.store
            .execution(&self.execution.id)
            .await
            .unwrap()
            .unwrap()
    }

    async fn status_of(&self, ref_id: &str) -> Status {
        self.store
            .stage(&self.execution.id, ref_id)
            .await
            .unwrap()
            .unwrap()
            .status
    }
}

#[tokio::test]
async fn a_machine_stopped_behind_our_back_is_undone_newest_first_and_canceled() {
    let world = world().await;
    world.record("1<1", Status::Succeeded, None).await;
    world.record("1<2", Status::Running, None).await;
    world.intent("1<1", "create", 2).await;
    world.intent("1<2", "disable", 3).await;
    world.settle("ABORTED", 10).await;
    assert_eq!(*world.undone.borrow(), ["disable", "create"]);
    let execution = world.now_is().await;
    assert_eq!(execution.status, Status::Canceled);
    assert_eq!(execution.end_time, Some(10));
    assert_eq!(world.status_of("1<1").await, Status::Succeeded);
    assert_eq!(world.status_of("1<2").await, Status::Canceled);
    assert!(
        world
            .store
            .stage(&execution.id, "2")
            .await
            .unwrap()
            .is_none()
    );
    assert!(world.store.running_executions(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_crash_at_any_call_undoes_everything_and_settles_once() {
    at_every_call(async |strike| {
        let world = world().await;
        world.record("1<1", Status::Succeeded, None).await;
        world.record("1<2", Status::Terminal, None).await;
        world.intent("1<1", "create", 2).await;
        world.intent("1<2", "disable", 3).await;
        world.end(Status::Terminal).await;
        let armed = strike.arm(&world.faults);
        for _ in 0..6 {
            let done = armed
                .until_answered(async || world.turn("FAILED", json!({}), 10).await)
                .await;
            if done {
                break;
            }
        }
        let calls = armed.finish();
        let mut undone = world.undone.borrow().clone();
        undone.dedup();
        assert_eq!(undone, ["disable", "create"]);
        assert_eq!(world.now_is().await.status, Status::Terminal);
        let intents = world.store.intents(&world.execution.id).await.unwrap();
        assert!(intents.iter().all(|intent| intent.closed));
        assert_eq!(
            world.functions.distinct(),
            [(
                "g-notify:live".to_owned(),
                json!({"execution": world.execution.id, "run": 1, "when": "pipeline.failed"})
            )]
        );
        calls
    })
    .await;
}

#[tokio::test]
async fn a_success_keeps_what_was_changed_and_says_so() {
    let world = world().await;
    for ref_id in ["1<1", "1<2", "2"] {
        world.record(ref_id, Status::Succeeded, None).await;
    }
    world.intent("1<1", "create", 2).await;
    world.settle("SUCCEEDED", 10).await;
    assert_eq!(world.now_is().await.status, Status::Succeeded);
    assert!(world.undone.borrow().is_empty());
    let intents = world.store.intents(&world.execution.id).await.unwrap();
    assert!(intents[0].closed);
}

#[tokio::test]
async fn a_failure_after_a_complete_deployment_keeps_the_deployment() {
    let world = world().await;
    for ref_id in ["1<1", "1<2"] {
        world.record(ref_id, Status::Succeeded, None).await;
    }
    world.record("2", Status::Terminal, None).await;
    world.intent("1<1", "create", 2).await;
    world.end(Status::Terminal).await;
    world.settle("FAILED", 10).await;
    assert!(world.undone.borrow().is_empty());
    assert_eq!(world.now_is().await.status, Status::Terminal);
}

/// A deployment that created a group which is not healthy, rolled back by its own sub-stages, and one more cluster that
/// has no such sub-stages.
fn rolls_back() -> Plan {
    sample::plan(json!([
        {"refId": "1", "type": "deploy", "function": null},
        {"refId": "1<1", "type": "createServerGroup", "parent": "1", "owner": "STAGE_BEFORE", "defersFailure": true},
        {"refId": "1<1>1", "type": "rollbackCluster", "parent": "1<1", "owner": "ON_FAILURE",
            "startsAfter": [{"refId": "1<1", "whole": false}], "defersFailure": true},
        {"refId": "1<1>2", "type": "pinServerGroup", "parent": "1<1", "owner": "ON_FAILURE",
            "startsAfter": [{"refId": "1<1>1", "whole": true}]},
        {"refId": "1<2", "type": "createServerGroup", "parent": "1", "owner": "STAGE_BEFORE"},
    ]))
}

#[tokio::test]
async fn a_deployment_that_rolled_itself_back_stays_there_and_the_one_beside_it_is_undone() {
    for (rollback, unpin, undone) in [
        (Status::Succeeded, Status::Succeeded, vec!["other"]),
        (Status::Succeeded, Status::Skipped, vec!["other"]),
        // Not all the way back: everything is undone.
        (
            Status::Skipped,
            Status::Succeeded,
            vec!["other", "roll back", "create"],
        ),
        (
            Status::Succeeded,
            Status::FailedContinue,
            vec!["other", "roll back", "create"],
        ),
        (
            Status::Succeeded,
            Status::Running,
            vec!["other", "roll back", "create"],
        ),
    ] {
        let world = world_of(&rolls_back()).await;
        world.record("1<1", Status::Terminal, None).await;
        world.record("1<1>1", rollback, None).await;
        world.record("1<1>2", unpin, None).await;
        world.record("1<2", Status::Running, None).await;
        world.intent("1<1", "create", 2).await;
        world.intent("1<1>1", "roll back", 3).await;
        world.intent("1<2", "other", 4).await;
        world.end(Status::Terminal).await;
        world.settle("FAILED", 10).await;
        assert_eq!(*world.undone.borrow(), undone, "{rollback} {unpin}");
    }
}

#[tokio::test]
async fn the_end_gives_back_the_locks_of_its_clusters_and_none_of_anybody_else() {
    at_every_call(async |strike| {
        let world = world().await;
        world.record("1<1", Status::Running, None).await;
        let clusters = ["web", "api"].map(|cluster| LockedCluster {
            account: "prod".to_owned(),
            region: "us-east-1".to_owned(),
            cluster: cluster.to_owned(),
        });
        let run = world.execution.id.run(1);
        let lock = ClusterLock {
            execution: world.execution.id.clone(),
            run: 1,
            application: "shop".to_owned(),
            pipeline: "release".to_owned(),
            stages: vec!["1<1".to_owned()],
            since: 1,
            version: 1,
        };
        for cluster in &clusters {
            let taken = world
                .store
                .take_lock(&run, cluster, None, &lock)
                .await
                .unwrap();
            assert_eq!(taken, LockAnswer::Taken);
        }
        // Taken over by another execution meanwhile.
        let mut others = serde_json::to_value(&lock).unwrap();
        others["execution"] = json!("01ARZ3NDEKTSV4RRFFQ69G5FAV");
        let key = Key::new("LOCK#prod/us-east-1/api", "META");
        let item = others.as_object().cloned().unwrap();
        world
            .store
            .table()
            .write(Write::put(key, item))
            .await
            .unwrap();
        let armed = strike.arm(&world.faults);
        while !armed
            .until_answered(async || world.turn("ABORTED", json!({}), 10).await)
            .await
        {}
        let calls = armed.finish();
        assert_eq!(world.store.lock(&clusters[0]).await.unwrap(), None);
        assert!(world.store.lock(&clusters[1]).await.unwrap().is_some());
        assert!(
            world
                .store
                .locked_by(&world.execution.id)
                .await
                .unwrap()
                .is_empty()
        );
        calls
    })
    .await;
}

#[tokio::test]
async fn whoever_may_still_change_something_goes_first() {
    let world = world().await;
    world.record("1<1", Status::Running, Some(30)).await;
    world.intent("1<1", "create", 2).await;
    assert!(matches!(
        world.turn("ABORTED", json!({}), 29).await,
        Err(FunctionError::Waiting { .. })
    ));
    // Nothing new begins while it waits.
    assert!(world.now_is().await.ending.is_some());
    assert!(!world.turn("ABORTED", json!({}), 30).await.unwrap());
}

#[tokio::test]
async fn a_machine_that_succeeded_before_its_stages_is_a_failure_that_names_them() {
    let world = world().await;
    for ref_id in ["1<1", "1<2"] {
        world.record(ref_id, Status::Succeeded, None).await;
    }
    world.settle("SUCCEEDED", 10).await;
    let ending = world.now_is().await.ending.unwrap();
    assert_eq!(ending.status, Status::Terminal);
    assert!(
        ending.reason.ends_with("before these stages: 2"),
        "{}",
        ending.reason
    );
}

#[tokio::test]
async fn a_stage_whose_function_died_is_what_failed() {
    let world = world().await;
    world.record("1<1", Status::Running, Some(3)).await;
    world.settle("FAILED", 10).await;
    assert_eq!(world.status_of("1<1").await, Status::Terminal);
    assert_eq!(world.now_is().await.status, Status::Terminal);
}

#[tokio::test]
async fn what_cannot_be_undone_is_left_for_a_person_and_the_next_one_is_undone() {
    let world = world().await;
    world.record("1<1", Status::Running, None).await;
    world.intent("1<1", "create", 2).await;
    world.intent("1<2", "disable", 3).await;
    world.end(Status::Canceled).await;
    let failed = json!({"stage": "1<2", "action": "disable", "error": "StageFailed",
        "cause": "{\"errorMessage\":\"access denied\"}"});
    assert!(!world.turn("ABORTED", failed, 10).await.unwrap());
    assert_eq!(*world.undone.borrow(), ["create"]);
    let intents = world.store.intents(&world.execution.id).await.unwrap();
    let left = intents.iter().find(|intent| intent.action == "disable");
    assert_eq!(
        left.unwrap().result.as_deref(),
        Some("not undone: StageFailed: access denied")
    );
}

#[tokio::test]
async fn an_older_run_is_none_of_its_business() {
    let world = world().await;
    let event = json!({"run": world.execution.id.run(7), "status": "ABORTED"});
    assert_eq!(
        world.finalize.turn(&event, 10).await.unwrap(),
        json!({"done": true})
    );
    assert_eq!(world.now_is().await.status, Status::Running);
}
