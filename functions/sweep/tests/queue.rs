//! A queue of executions comes to its end in both modes, whichever call of `start`, `sweep` or `finalize` fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_cloud::concurrency::SUPERSEDED;
use gennaker_cloud::step_functions::MachineStatus;
use gennaker_domain::{Execution, ExecutionId, Plan, StageRecord, Status};
use gennaker_finalize::Finalize;
use gennaker_start::Start;
use gennaker_sweep::{GRACE_MILLIS, Sweep};
use gennaker_testkit::strike::Armed;
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryStepFunctions, MemoryTable, at_every_call, sample,
};
use serde_json::{Value, json};

struct World {
    faults: Faults,
    /// Looks without being counted.
    store: Store,
    step_functions: MemoryStepFunctions,
    functions: MemoryFunctions,
    start: Arc<Start>,
    finalize: Arc<Finalize>,
    sweep: Sweep,
}

async fn world(plan: &Plan) -> World {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    let store = Store::new(Arc::new(table.clone()));
    let step_functions = MemoryStepFunctions::with_faults(faults.clone());
    step_functions.add_machine("sample");
    let finalize_machine = step_functions.add_machine("finalize");
    let functions = MemoryFunctions::with_faults(faults.clone());
    let calm = Store::new(Arc::new(table.without_faults()));
    sample::save(&calm, plan, &[]).await.unwrap();
    let start = Arc::new(Start::new(
        store.clone(),
        Arc::new(step_functions.clone()),
        Arc::new(functions.clone()),
        "g",
    ));
    let finalize = Arc::new(Finalize::new(
        store.clone(),
        Arc::new(step_functions.clone()),
        Arc::new(functions.clone()),
        "g",
    ));
    functions.serve("g-finalize:live", finalize.clone());
    World {
        sweep: Sweep::new(
            store.clone(),
            Arc::new(step_functions.clone()),
            Arc::new(functions.clone()),
            "g",
            finalize_machine,
        ),
        faults,
        store: calm,
        step_functions,
        functions,
        start,
        finalize,
    }
}

fn plan(keep_waiting: bool, most: u32) -> Plan {
    Plan {
        limit_concurrent: most == 1,
        max_concurrent_executions: if most == 1 { 0 } else { most },
        keep_waiting_pipelines: keep_waiting,
        ..sample::plan(json!([{"refId": "1", "type": "wait"}]))
    }
}

fn id(n: i64) -> ExecutionId {
    ExecutionId::derive(n, &["queue"])
}

impl World {
    async fn start(&self, armed: &Armed, n: i64) {
        let request = json!({"executionId": id(n), "application": "shop", "pipeline": "release"});
        armed
            .until_answered(async || self.start.start(&request, n).await)
            .await;
    }

    async fn execution(&self, n: i64) -> Execution {
        self.store.execution(&id(n)).await.unwrap().unwrap()
    }

    /// Machines that are at work: pipelines' or finalize's.
    fn at_work(&self, of_finalize: bool) -> Vec<(String, Value)> {
        let runs = self.step_functions.runs();
        runs.into_iter()
            .filter(|(_, run)| run.run.status == MachineStatus::Running)
            .map(|(arn, run)| (arn.rsplit(':').next().unwrap().to_owned(), run.input))
            .filter(|(name, _)| name.contains("-end") == of_finalize)
            .collect()
    }

    /// The machine ends, its event arrives, and what that starts comes to its end.
    async fn end(&self, armed: &Armed, run: &str, now: i64) {
        let execution = run.strip_suffix("-1").unwrap();
        let record = StageRecord {
            status: Status::Succeeded,
            ..StageRecord::not_started("1")
        };
        let execution = ExecutionId::try_from(execution.to_owned()).unwrap();
        self.store.settle_stage(&execution, &record).await.unwrap();
        self.step_functions.end(run, MachineStatus::Succeeded, None);
        let event = json!({"detail-type": "Step Functions Execution Status Change", "source": "aws.states",
            "detail": {"name": run, "status": "SUCCEEDED"}});
        armed
            .until_answered(async || self.sweep.sweep(&event, now).await)
            .await;
        self.settle(armed, now).await;
    }

    async fn settle(&self, armed: &Armed, now: i64) {
        for (name, input) in self.at_work(true) {
            armed
                .until_answered(async || self.finalize.turn(&input, now).await)
                .await;
            self.step_functions
                .end(&name, MachineStatus::Succeeded, None);
        }
    }

    /// Everything runs to its end, at most `most` at a time; the executions in the order in which they ran.
    async fn run_out(&self, armed: &Armed, most: usize) -> Vec<ExecutionId> {
        let mut order = Vec::new();
        let mut delivered = 0;
        let mut now = 1_000;
        for _ in 0..200 {
            let running = self.at_work(false);
            assert!(running.len() <= most, "{running:?}");
            if let Some((run, _)) = running.first() {
                order.push(ExecutionId::try_from(run[..run.len() - 2].to_owned()).unwrap());
                self.end(armed, run, now).await;
            } else {
                // What a crash lost is the sweep's.
                now += 2 * GRACE_MILLIS;
                armed
                    .until_answered(async || self.sweep.sweep(&json!({}), now).await)
                    .await;
                self.settle(armed, now).await;
            }
            self.functions.set_now(now);
            delivered = self.functions.deliver(delivered).await;
            let open = self.store.open_executions(100).await.unwrap();
            if open.is_empty() && self.at_work(false).is_empty() {
                return order;
            }
            now += 10;
        }
        panic!("it never ends");
    }
}

fn ids(numbers: impl IntoIterator<Item = i64>) -> Vec<ExecutionId> {
    numbers.into_iter().map(id).collect()
}

/// A queue of so many, from the first start to the last end.
async fn queue_of(
    count: i64,
    keep_waiting: bool,
    strike: gennaker_testkit::strike::Strike,
) -> usize {
    let world = world(&plan(keep_waiting, 1)).await;
    let armed = strike.arm(&world.faults);
    for n in 1..=count {
        world.start(&armed, n).await;
    }
    let order = world.run_out(&armed, 1).await;
    let calls = armed.finish();
    let ran: Vec<i64> = if keep_waiting {
        (1..=count).collect()
    } else {
        vec![1, count]
    };
    assert_eq!(order, ids(ran.clone()), "{strike:?}");
    for n in 1..=count {
        let execution = world.execution(n).await;
        let ending = execution.ending.unwrap();
        if ran.contains(&n) {
            assert_eq!(execution.status, Status::Succeeded, "{n} {strike:?}");
        } else {
            assert_eq!(execution.status, Status::Canceled, "{n} {strike:?}");
            assert_eq!(ending.reason, SUPERSEDED);
        }
    }
    assert!(world.store.queue("p-1").await.unwrap().is_empty());
    calls
}

#[tokio::test]
async fn a_crash_at_any_call_starts_each_execution_of_a_queue_once_and_in_its_order() {
    at_every_call(async |strike| queue_of(4, true, strike).await).await;
}

#[tokio::test]
async fn a_crash_at_any_call_leaves_the_newest_of_a_queue_and_cancels_the_others() {
    at_every_call(async |strike| queue_of(4, false, strike).await).await;
}

#[tokio::test]
async fn a_crash_at_any_call_lets_no_more_than_so_many_run() {
    at_every_call(async |strike| {
        let world = world(&plan(true, 2)).await;
        let armed = strike.arm(&world.faults);
        for n in 1..=4 {
            world.start(&armed, n).await;
        }
        let mut order = world.run_out(&armed, 2).await;
        let calls = armed.finish();
        order.sort();
        assert_eq!(order, ids(1..=4), "{strike:?}");
        calls
    })
    .await;
}
