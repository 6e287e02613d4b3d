//! Plays Step Functions, Lambda and EventBridge for the functions themselves, in virtual time: every decision is
//! theirs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::join_all;
use gennaker_cloud::functions::{Answer, function_name};
use gennaker_cloud::step_functions::MachineStatus;
use gennaker_cloud::store::pipelines::{Pipeline, Revision};
use gennaker_cloud::{CloudError, Functions, Index, Item, Key, StepFunctions, Store, Table, Write};
use gennaker_compiler::{Compiled, Mode, Options, catalog, compile};
use gennaker_decide::Decide;
use gennaker_domain::policy::fails_on_expressions;
use gennaker_domain::rollup::Rollup;
use gennaker_domain::{ExecutionId, FailurePolicy, Owner, Plan, PlanStage, Problem, Run, Status};
use gennaker_finalize::Finalize;
use gennaker_join::Join;
use gennaker_lambda::{Call, FunctionError, Refusal, Runtime, Wake as WakePort};
use gennaker_start::Start;
use gennaker_sweep::Sweep;
use gennaker_testkit::{MemoryStepFunctions, MemoryTable, NamedCallers, Sent};
use gennaker_wake::Wake;
use serde_json::{Value, json};

use crate::EvaluateError;
use crate::case::{Act, Case, Op};
use crate::machine::{After, Broken, Machine, Next, Place};
use crate::scripted::{NOT_PLANNED, ScriptedStage, remembered};

const PREFIX: &str = "gennaker";
/// Milliseconds that a call may take.
const FUNCTION_MILLIS: i64 = 60_000;
/// Things that may happen in one case: more is a loop.
const MAX_EVENTS: usize = 500_000;
/// How often the original looks whether all sub-stages that run side by side have ended.
const LOOK_AT_PARTS_MILLIS: i64 = 5_000;
/// How the cases name who cancels, and why.
pub(crate) const SCRIPTED: &str = "scripted";

/// Asynchronous invocations that wait for their turn.
#[derive(Clone, Debug, Default)]
struct Invocations(Arc<Mutex<VecDeque<(String, Value)>>>);

impl Invocations {
    fn push(&self, function: &str, payload: Value) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back((function.to_owned(), payload));
    }

    fn pop(&self) -> Option<(String, Value)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

#[async_trait]
impl Functions for Invocations {
    async fn invoke_later(&self, function: &str, payload: &Value) -> Result<(), CloudError> {
        self.push(function, payload.clone());
        Ok(())
    }

    async fn invoke(&self, function: &str, payload: &Value) -> Result<Answer, CloudError> {
        self.push(function, payload.clone());
        Ok(Answer::Value(Value::Null))
    }
}

#[async_trait]
impl WakePort for Invocations {
    async fn wake(&self, event: Value) -> Result<(), CloudError> {
        self.push(&function_name(PREFIX, "wake"), event);
        Ok(())
    }
}

/// The table, letting another call have its turn at every operation: calls of one instant overlap.
struct Overlapping(MemoryTable);

#[async_trait]
impl Table for Overlapping {
    async fn get(&self, key: &Key) -> Result<Option<Item>, CloudError> {
        tokio::task::yield_now().await;
        self.0.get(key).await
    }

    async fn query(&self, partition: &str, prefix: &str) -> Result<Vec<Item>, CloudError> {
        tokio::task::yield_now().await;
        self.0.query(partition, prefix).await
    }

    async fn query_after(
        &self,
        partition: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Item>, CloudError> {
        tokio::task::yield_now().await;
        self.0.query_after(partition, after, limit).await
    }

    async fn query_index(
        &self,
        index: Index,
        partition: &str,
        limit: usize,
    ) -> Result<Vec<Item>, CloudError> {
        tokio::task::yield_now().await;
        self.0.query_index(index, partition, limit).await
    }

    async fn write(&self, write: Write) -> Result<(), CloudError> {
        tokio::task::yield_now().await;
        self.0.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), CloudError> {
        tokio::task::yield_now().await;
        self.0.transact(writes).await
    }
}

/// A Task that has been entered.
#[derive(Debug)]
struct Task {
    machine: usize,
    place: Place,
    run: Run,
    stage: String,
    is_join: bool,
    /// Its current token, where it is woken.
    token: Option<String>,
    /// Calls so far: what was planned for an earlier call is void.
    calls: u32,
    tried: Vec<(usize, u32)>,
    over: bool,
}

/// What will happen at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Start(usize),
    Op(usize),
    /// A stage has something to say.
    Look {
        execution: ExecutionId,
        stage: String,
    },
    /// Step Functions calls a Task again.
    Again {
        task: usize,
        calls: u32,
        timed_out: bool,
    },
    Settle {
        name: String,
        input: Value,
    },
}

impl Event {
    /// Whether only Step Functions wants it: nothing need come of it.
    fn only_looks_again(&self) -> bool {
        matches!(self, Self::Again { .. })
    }
}

#[derive(Debug)]
struct Timed {
    at: i64,
    /// 0 comes before everything else of its instant.
    class: u8,
    number: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.class, self.number).cmp(&(other.at, other.class, other.number))
    }
}

/// An execution of a state machine.
#[derive(Debug)]
struct Running {
    name: String,
    arn: String,
    machine: Machine,
    alive: bool,
}

/// Everything around one case.
pub(crate) struct World {
    pub store: Store,
    pub compiled: BTreeMap<String, Compiled>,
    /// Executions of the case's starts, by their number.
    pub started: Vec<Option<ExecutionId>>,
    case: Case,
    step_functions: MemoryStepFunctions,
    invocations: Invocations,
    scripted: ScriptedStage,
    runtime: Runtime<ScriptedStage>,
    start: Arc<Start>,
    decide: Arc<Decide>,
    finalize: Finalize,
    join: Join,
    wake: Wake,
    sweep: Sweep,
    finalize_machine: String,
    /// Definitions by the ARN of their machine.
    definitions: HashMap<String, Value>,
    machines: Vec<Running>,
    known_runs: Vec<String>,
    tasks: Vec<Task>,
    calls: VecDeque<usize>,
    sent: usize,
    queue: BinaryHeap<Reverse<Timed>>,
    numbers: u64,
    requests: u64,
    now: i64,
    /// Grows when something happens that is no look again.
    progress: u64,
}

impl From<Broken> for EvaluateError {
    fn from(broken: Broken) -> Self {
        Self::Machine(broken.to_string())
    }
}

impl World {
    /// The pipelines of the case, saved.
    pub async fn new(case: Case) -> Result<Self, EvaluateError> {
        let table = MemoryTable::new();
        let store = Store::new(Arc::new(table.clone()));
        let overlapping = Store::new(Arc::new(Overlapping(table)));
        let step_functions = MemoryStepFunctions::new();
        let invocations = Invocations::default();
        let machines: Arc<dyn StepFunctions> = Arc::new(step_functions.clone());
        let functions: Arc<dyn Functions> = Arc::new(invocations.clone());
        let callers = Arc::new(NamedCallers);
        let start = Start::new(
            store.clone(),
            Arc::clone(&machines),
            Arc::clone(&functions),
            PREFIX,
        );
        let start = Arc::new(start.with_callers(callers.clone()));
        let decide = Decide::new(
            store.clone(),
            Arc::clone(&machines),
            Arc::clone(&functions),
            PREFIX,
        );
        let decide = Arc::new(decide.with_callers(callers));
        let scripts = case
            .pipelines
            .iter()
            .map(|pipeline| (pipeline.id.clone(), pipeline.clone()))
            .collect();
        let scripted =
            ScriptedStage::new(Arc::new(scripts), Arc::clone(&start), Arc::clone(&decide));
        let finalize_machine = step_functions.add_machine("finalize");
        let mut world = Self {
            compiled: BTreeMap::new(),
            started: vec![None; case.starts.len()],
            runtime: Runtime::new(
                scripted.clone(),
                overlapping,
                Arc::new(invocations.clone()),
                PREFIX,
            ),
            finalize: Finalize::new(
                store.clone(),
                Arc::clone(&machines),
                Arc::clone(&functions),
                PREFIX,
            ),
            join: Join::new(store.clone(), Arc::clone(&functions), PREFIX),
            wake: Wake::new(store.clone(), Arc::clone(&machines)),
            sweep: Sweep::new(
                store.clone(),
                machines,
                functions,
                PREFIX,
                finalize_machine.clone(),
            ),
            store,
            case,
            step_functions,
            invocations,
            scripted,
            start,
            decide,
            finalize_machine,
            definitions: HashMap::new(),
            machines: Vec::new(),
            known_runs: Vec::new(),
            tasks: Vec::new(),
            calls: VecDeque::new(),
            sent: 0,
            queue: BinaryHeap::new(),
            numbers: 0,
            requests: 0,
            now: 0,
            progress: 0,
        };
        for at in 0..world.case.pipelines.len() {
            world.save(at).await?;
        }
        Ok(world)
    }

    /// Compiles and stores a pipeline with its machine.
    async fn save(&mut self, at: usize) -> Result<(), EvaluateError> {
        let Some(scripted) = self.case.pipelines.get(at) else {
            return Ok(());
        };
        let options = Options {
            sub_stages: scripted.sub_stages(),
            mode: Mode::Evaluate,
            ..Options::default()
        };
        let compiled = compile(&scripted.pipeline, &options).map_err(|problems| {
            EvaluateError::Refused(problems.into_iter().filter(Problem::is_error).collect())
        })?;
        let machine = self
            .step_functions
            .create_machine(&format!("pipeline-{at}"), &compiled.definition_text, "role")
            .await?;
        let version = self.step_functions.publish_version(&machine).await?;
        let definition = serde_json::from_str(&compiled.definition_text)
            .map_err(|error| EvaluateError::Machine(error.to_string()))?;
        self.definitions.insert(machine.clone(), definition);
        let pipeline = Pipeline {
            application: scripted.application.clone(),
            id: scripted.id.clone(),
            name: compiled.plan.pipeline.clone(),
            revision: 1,
            plan_hash: self.store.put_plan(&compiled.plan).await?,
            machine,
            state_machine: version,
            definition_hash: String::new(),
            config_hash: String::new(),
            disabled: scripted.pipeline.get("disabled") == Some(&Value::Bool(true)),
            deleted: false,
            triggers: Vec::new(),
            schedules: Vec::new(),
            author: None,
            saved_at: 0,
        };
        let revision = Revision {
            number: 1,
            config: Value::Null,
            plan_hash: pipeline.plan_hash.clone(),
            author: None,
            saved_at: 0,
            summary: String::new(),
        };
        self.store
            .save_pipeline(None, &pipeline, &revision, &[])
            .await?;
        self.compiled.insert(scripted.id.clone(), compiled);
        Ok(())
    }

    fn plan_event(&mut self, at: i64, event: Event) {
        self.plan_first(at, 1, event);
    }

    fn plan_first(&mut self, at: i64, class: u8, event: Event) {
        self.numbers += 1;
        self.queue.push(Reverse(Timed {
            at: at.max(self.now),
            class,
            number: self.numbers,
            event,
        }));
    }

    /// Runs the case until nothing happens any more.
    pub async fn run(&mut self) -> Result<(), EvaluateError> {
        for (at, time) in self.case.starts.clone().into_iter().enumerate() {
            self.plan_event(time, Event::Start(at));
        }
        for (at, op) in self.case.ops.clone().into_iter().enumerate() {
            self.plan_event(op.at, Event::Op(at));
        }
        let (mut idle, mut seen) = (0, 0);
        for _ in 0..MAX_EVENTS {
            let Some(Reverse(next)) = self.queue.pop() else {
                return Ok(());
            };
            self.now = next.at;
            if next.event.only_looks_again() {
                // Paused for ever: Step Functions would look again until its year is over.
                let others = self
                    .queue
                    .iter()
                    .any(|Reverse(timed)| !timed.event.only_looks_again());
                idle = if others || self.progress != seen {
                    0
                } else {
                    idle + 1
                };
                if idle > 2 * self.tasks.iter().filter(|task| !task.over).count() + 8 {
                    return Ok(());
                }
            }
            seen = self.progress;
            match next.event {
                Event::Start(at) => self.begin(at).await?,
                Event::Op(at) => self.act(at).await?,
                Event::Look { execution, stage } => self.look(execution, stage).await?,
                Event::Again {
                    task,
                    calls,
                    timed_out,
                } => {
                    let valid = self
                        .tasks
                        .get(task)
                        .is_some_and(|task| !task.over && task.calls == calls);
                    if valid && timed_out {
                        self.task_failed(task, "States.Timeout").await?;
                    } else if valid {
                        self.calls.push_back(task);
                    }
                }
                Event::Settle { name, input } => self.settle_run(name, input).await?,
            }
            self.settle().await?;
        }
        Err(EvaluateError::Machine(format!(
            "more than {MAX_EVENTS} things happened"
        )))
    }

    async fn begin(&mut self, at: usize) -> Result<(), EvaluateError> {
        self.progress += 1;
        let Some(main) = self.case.pipelines.first() else {
            return Ok(());
        };
        let id = ExecutionId::derive(self.now, &["start", &at.to_string()]);
        let mut event = json!({
            "application": main.application,
            "pipeline": main.id,
            "executionId": id,
        });
        if let (Some(event), Value::Object(_)) = (event.as_object_mut(), &self.case.trigger) {
            event.insert("trigger".to_owned(), self.case.trigger.clone());
        }
        let answer = self.start.start(&event, self.now).await?;
        if let Some(problems) = answer.get("problems") {
            return Err(EvaluateError::Machine(problems.to_string()));
        }
        if let Some(place) = self.started.get_mut(at) {
            *place = Some(id);
        }
        Ok(())
    }

    async fn act(&mut self, at: usize) -> Result<(), EvaluateError> {
        self.progress += 1;
        let Some(Op { execution, act, .. }) = self.case.ops.get(at).cloned() else {
            return Ok(());
        };
        let Some(id) = self.started.get(execution).cloned().flatten() else {
            return Ok(());
        };
        let asked = match act {
            Act::Cancel => json!({ "cancel": true, "reason": SCRIPTED }),
            Act::Pause => json!({ "pause": true }),
            Act::Resume => json!({ "resume": true }),
            Act::Restart(ref_id) => {
                let event =
                    json!({ "restart": { "execution": id, "stage": ref_id }, "user": SCRIPTED });
                self.start.start(&event, self.now).await?;
                return Ok(());
            }
            Act::Skip(ref_id) => {
                // Written, whether or not a person might.
                if let Some(known) = self.store.execution(&id).await? {
                    let run = id.run(known.run);
                    self.store
                        .skip_whole_stage(&run, &ref_id, SCRIPTED, self.now)
                        .await?;
                }
                return self.look(id, ref_id).await;
            }
        };
        let mut event = asked;
        if let Some(fields) = event.as_object_mut() {
            fields.insert("execution".to_owned(), json!(id));
            fields.insert("user".to_owned(), SCRIPTED.into());
        }
        self.decide.decide(&event, self.now).await?;
        self.settle().await?;
        // What polls sees at its next poll what a person did: taken as at once.
        let polled: Vec<usize> = self
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| !task.over && task.token.is_none() && task.calls > 0)
            .map(|(at, _)| at)
            .collect();
        self.calls.extend(polled);
        Ok(())
    }

    /// Stages have something to say. Of those of one instant the ones that halt the execution come last, and
    /// together: whatever ends in that instant has ended.
    async fn look(&mut self, execution: ExecutionId, stage: String) -> Result<(), EvaluateError> {
        let mut looks = vec![(execution, stage)];
        let mut halting: Vec<(u8, usize)> = Vec::new();
        loop {
            for (execution, stage) in std::mem::take(&mut looks) {
                let last = self.halts(&execution, &stage).await?;
                let tasks: Vec<usize> = self
                    .tasks
                    .iter()
                    .enumerate()
                    .filter(|(_, task)| {
                        !task.over
                            && !task.is_join
                            && task.run.execution == execution
                            && task.stage == stage
                    })
                    .map(|(at, _)| at)
                    .collect();
                match last {
                    Some(rank) => halting.extend(tasks.into_iter().map(|task| (rank, task))),
                    None => {
                        for task in tasks {
                            self.call_now(&[task]).await?;
                            self.settle().await?;
                        }
                    }
                }
            }
            // More of this instant, what became due just now included.
            let mut others = Vec::new();
            while let Some(Reverse(next)) = self.queue.peek() {
                if next.at > self.now {
                    break;
                }
                match self.queue.pop() {
                    Some(Reverse(Timed {
                        event: Event::Look { execution, stage },
                        ..
                    })) => looks.push((execution, stage)),
                    Some(other) => others.push(other),
                    None => break,
                }
            }
            self.queue.extend(others);
            if looks.is_empty() {
                break;
            }
        }
        halting.sort_unstable();
        halting.dedup();
        let tasks: Vec<usize> = halting.into_iter().map(|(_, task)| task).collect();
        self.call_now(&tasks).await
    }

    /// Whether what a stage has to say halts its pipeline: TERMINAL first, then CANCELED.
    async fn halts(
        &self,
        execution: &ExecutionId,
        stage: &str,
    ) -> Result<Option<u8>, EvaluateError> {
        let Some(record) = self.store.stage(execution, stage).await? else {
            return Ok(None);
        };
        let Some(end) = remembered(&record.memory).filter(|end| end.millis <= self.now) else {
            return Ok(None);
        };
        let failed = fails_on_expressions(&record.context);
        Ok(
            match FailurePolicy::of(&record.context).outcome(end.status) {
                _ if failed => Some(0),
                Status::Terminal => Some(0),
                Status::Canceled => Some(1),
                _ => None,
            },
        )
    }

    /// Calls the functions of these Tasks now, at the same time: polls as if their time had come, sleeping ones as
    /// somebody who has news for them does.
    async fn call_now(&mut self, tasks: &[usize]) -> Result<(), EvaluateError> {
        let calls: Vec<(usize, bool, Call)> = tasks
            .iter()
            .filter_map(|at| {
                let task = self.tasks.get(*at).filter(|task| !task.over)?;
                let event = json!({ "run": task.run, "stage": task.stage });
                Some((*at, task.token.is_some(), event))
            })
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(at, woken, event)| (at, woken, self.new_call(event)))
            .collect();
        let runtime = &self.runtime;
        let answers = join_all(
            calls
                .iter()
                .map(|(_, _, call)| async move { runtime.handle(call).await }),
        )
        .await;
        self.take_looks();
        for ((task, woken, _), answer) in calls.iter().zip(answers) {
            if !woken {
                if let Some(task) = self.tasks.get_mut(*task) {
                    task.calls += 1;
                }
                self.answered(*task, answer).await?;
            }
        }
        Ok(())
    }

    fn new_call(&mut self, event: Value) -> Call {
        self.requests += 1;
        Call {
            event,
            request_id: format!("request-{}", self.requests),
            deadline: self.now.saturating_add(FUNCTION_MILLIS),
            now: self.now,
        }
    }

    fn take_looks(&mut self) {
        for look in self.scripted.take_looks() {
            self.progress += 1;
            let event = Event::Look {
                execution: look.execution,
                stage: look.stage,
            };
            self.plan_first(look.at, u8::from(!look.watches), event);
        }
    }

    /// Everything that happens in this instant without more time.
    async fn settle(&mut self) -> Result<(), EvaluateError> {
        loop {
            self.take_looks();
            if let Some((function, payload)) = self.invocations.pop() {
                self.invoked(&function, payload).await?;
            } else if self.deliver().await? || self.watch_runs().await? {
                // Everything that is due in this instant comes before the next calls.
            } else if self.calls.is_empty() {
                return Ok(());
            } else {
                // Whatever begins in this instant has begun before a stage of an unknown type ends the execution.
                let (known, unknown): (Vec<usize>, Vec<usize>) = std::mem::take(&mut self.calls)
                    .into_iter()
                    .partition(|task| self.is_of_known_type(*task));
                if known.is_empty() {
                    self.call(unknown).await?;
                } else {
                    self.calls.extend(unknown);
                    self.call(known).await?;
                }
            }
        }
    }

    fn is_of_known_type(&self, task: usize) -> bool {
        let stage = self.tasks.get(task).map(|task| task.stage.as_str());
        let plans = self.compiled.values().map(|compiled| &compiled.plan);
        stage.is_none_or(|ref_id| {
            plans
                .filter_map(|plan| plan.stage(ref_id))
                .all(|stage| catalog::is_known(&stage.stage_type))
        })
    }

    /// Calls the functions of Tasks as their states say. Calls of one instant overlap.
    async fn call(&mut self, tasks: Vec<usize>) -> Result<(), EvaluateError> {
        let mut calls = Vec::new();
        for at in tasks {
            let Some(task) = self.tasks.get_mut(at).filter(|task| !task.over) else {
                continue;
            };
            let Some(running) = self.machines.get(task.machine).filter(|m| m.alive) else {
                continue;
            };
            task.calls += 1;
            let (number, is_join) = (task.calls, task.is_join);
            let mut event = json!({ "run": task.run, "stage": task.stage });
            let looks_again = running
                .machine
                .state(&task.place)
                .and_then(|state| state.get("TimeoutSeconds"))
                .and_then(Value::as_i64);
            if let Some(seconds) = looks_again {
                let token = format!("token-{at}-{number}");
                if let Some(fields) = event.as_object_mut() {
                    fields.insert("token".to_owned(), token.clone().into());
                }
                if let Some(old) = task.token.replace(token) {
                    self.step_functions.close_token(&old);
                }
                self.plan_event(
                    self.now.saturating_add(seconds.saturating_mul(1_000)),
                    Event::Again {
                        task: at,
                        calls: number,
                        timed_out: true,
                    },
                );
            }
            calls.push((at, is_join, self.new_call(event)));
        }
        let (runtime, join) = (&self.runtime, &self.join);
        let answers = join_all(calls.iter().map(|(_, is_join, call)| async move {
            if *is_join {
                let answer = join.join(&call.event).await;
                answer.map(|_| ()).map_err(refusal)
            } else {
                runtime.handle(call).await
            }
        }))
        .await;
        self.take_looks();
        for ((at, _, _), answer) in calls.into_iter().zip(answers) {
            self.answered(at, answer).await?;
        }
        Ok(())
    }

    /// What the answer of a function does to its Task.
    async fn answered(
        &mut self,
        at: usize,
        answer: Result<(), Refusal>,
    ) -> Result<(), EvaluateError> {
        let sleeps = self.tasks.get(at).is_some_and(|task| task.token.is_some());
        match answer {
            Ok(()) if sleeps => Ok(()),
            Ok(()) => self.task_done(at).await,
            Err(refusal) => self.task_failed(at, refusal.name).await,
        }
    }

    async fn task_done(&mut self, at: usize) -> Result<(), EvaluateError> {
        let Some(task) = self.tasks.get_mut(at).filter(|task| !task.over) else {
            return Ok(());
        };
        task.over = true;
        self.progress += 1;
        let (machine, place) = (task.machine, task.place.clone());
        let Some(running) = self.machines.get_mut(machine).filter(|m| m.alive) else {
            return Ok(());
        };
        let next = running.machine.done(&place)?;
        self.go_on(machine, next).await
    }

    async fn task_failed(&mut self, at: usize, error: &str) -> Result<(), EvaluateError> {
        let Some(task) = self.tasks.get_mut(at).filter(|task| !task.over) else {
            return Ok(());
        };
        let Some(running) = self.machines.get_mut(task.machine).filter(|m| m.alive) else {
            return Ok(());
        };
        match running.machine.failed(&task.place, error, &task.tried) {
            After::Again { retrier, millis } => {
                match task.tried.iter_mut().find(|(of, _)| *of == retrier) {
                    Some((_, count)) => *count += 1,
                    None => task.tried.push((retrier, 1)),
                }
                let event = Event::Again {
                    task: at,
                    calls: task.calls,
                    timed_out: false,
                };
                self.plan_event(self.now.saturating_add(millis), event);
                Ok(())
            }
            After::Caught(place) => {
                task.over = true;
                self.progress += 1;
                let machine = task.machine;
                let next = running.machine.go_to(place)?;
                self.go_on(machine, next).await
            }
            After::Fails => {
                let machine = task.machine;
                self.machine_ended(machine, MachineStatus::Failed, Some(error))
                    .await
            }
        }
    }

    async fn go_on(&mut self, machine: usize, next: Next) -> Result<(), EvaluateError> {
        let places = match next {
            Next::Tasks(places) => places,
            Next::Failed => {
                let error = gennaker_domain::error_name::STAGE_FAILED;
                return self
                    .machine_ended(machine, MachineStatus::Failed, Some(error))
                    .await;
            }
            Next::Over => {
                return self
                    .machine_ended(machine, MachineStatus::Succeeded, None)
                    .await;
            }
        };
        for place in places {
            let task = self.task(machine, place)?;
            let held = self.held_until(&task).await?;
            self.tasks.push(task);
            let task = self.tasks.len() - 1;
            match held {
                None => self.calls.push_back(task),
                Some(at) => self.plan_event(
                    at,
                    Event::Again {
                        task,
                        calls: 0,
                        timed_out: false,
                    },
                ),
            }
        }
        Ok(())
    }

    /// When the original would begin the Task of a stage whose sub-stages before it ran side by side, if later than
    /// now: the end of the first of them is looked at, and again every five seconds until all have ended.
    async fn held_until(&self, task: &Task) -> Result<Option<i64>, EvaluateError> {
        if task.is_join {
            return Ok(None);
        }
        let id = &task.run.execution;
        let execution = self.store.execution(id).await?;
        let compiled = execution.and_then(|of| self.compiled.get(&of.pipeline_id));
        let Some(plan) = compiled.map(|compiled| &compiled.plan) else {
            return Ok(None);
        };
        if side_by_side(plan, &task.stage).len() < 2 {
            return Ok(None);
        }
        let mut records = self.store.stages(id).await?;
        records.retain(|_, record| record.waiting.as_deref() != Some(NOT_PLANNED));
        let rollup = Rollup::new(plan, &records);
        let ends: Vec<i64> = side_by_side(plan, &task.stage)
            .into_iter()
            .filter_map(|stage| rollup.times(&stage.ref_id).1)
            .collect();
        let (Some(first), Some(last)) = (ends.iter().min(), ends.iter().max()) else {
            return Ok(None);
        };
        let took = last.saturating_sub(*first);
        if took == 0 {
            return Ok(None);
        }
        let looks = (took / LOOK_AT_PARTS_MILLIS).saturating_add(1);
        let at = first.saturating_add(looks.saturating_mul(LOOK_AT_PARTS_MILLIS));
        Ok((at > self.now).then_some(at))
    }

    /// The Task of a state that is entered.
    fn task(&self, machine: usize, place: Place) -> Result<Task, EvaluateError> {
        let broken = |what: &str| EvaluateError::Machine(format!("`{}` {what}", place.state));
        let running = self
            .machines
            .get(machine)
            .ok_or_else(|| broken("has no machine"))?;
        let arguments = running
            .machine
            .state(&place)
            .and_then(|state| state.get("Arguments"))
            .ok_or_else(|| broken("has no arguments"))?;
        let payload = |name: &str| {
            let text = arguments.get("Payload")?.get(name)?.as_str()?;
            evaluated(text, &running.name)
        };
        let run = payload("run").ok_or_else(|| broken("has no `run`"))?;
        let run = Run::try_from(run).map_err(|error| EvaluateError::Machine(error.to_string()))?;
        let stage = payload("stage").ok_or_else(|| broken("has no `stage`"))?;
        let function = arguments
            .get("FunctionName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Ok(Task {
            machine,
            run,
            stage,
            is_join: function == function_name(PREFIX, "join"),
            token: None,
            calls: 0,
            tried: Vec::new(),
            over: false,
            place,
        })
    }

    /// A machine has ended: Step Functions says so, and `sweep` hears it.
    async fn machine_ended(
        &mut self,
        machine: usize,
        status: MachineStatus,
        cause: Option<&str>,
    ) -> Result<(), EvaluateError> {
        let Some(running) = self.machines.get_mut(machine).filter(|m| m.alive) else {
            return Ok(());
        };
        running.alive = false;
        self.progress += 1;
        let name = running.name.clone();
        for task in self.tasks.iter_mut().filter(|task| task.machine == machine) {
            task.over = true;
            if let Some(token) = &task.token {
                self.step_functions.close_token(token);
            }
        }
        if status != MachineStatus::Aborted {
            self.step_functions.end(&name, status, cause);
        }
        let event = json!({
            "detail-type": "Step Functions Execution Status Change",
            "detail": { "name": name, "status": status.as_str(), "cause": cause },
        });
        self.sweep.sweep(&event, self.now).await?;
        Ok(())
    }

    /// An asynchronous invocation arrives.
    async fn invoked(&mut self, function: &str, payload: Value) -> Result<(), EvaluateError> {
        if function == function_name(PREFIX, "wake") {
            self.wake.wake(&payload).await?;
        } else if function == function_name(PREFIX, "finalize") {
            // The end of an execution that never ran.
            self.finalize.turn(&payload, self.now).await?;
        } else if function != function_name(PREFIX, "notify") {
            // A stage that somebody has news for.
            let call = self.new_call(payload);
            // What it says is in its record; Lambda would only log this.
            let _ = self.runtime.handle(&call).await;
        }
        Ok(())
    }

    /// Hands on what was sent to sleeping Tasks; whether there was anything.
    async fn deliver(&mut self) -> Result<bool, EvaluateError> {
        let sent = self.step_functions.sent();
        let Some(next) = sent.get(self.sent).cloned() else {
            return Ok(false);
        };
        self.sent += 1;
        let (Sent::Success { token } | Sent::Failure { token, .. }) = &next;
        let task = self
            .tasks
            .iter()
            .position(|task| !task.over && task.token.as_ref() == Some(token));
        match (task, &next) {
            (None, _) => {}
            (Some(task), Sent::Success { .. }) => self.task_done(task).await?,
            (Some(task), Sent::Failure { error, .. }) => self.task_failed(task, error).await?,
        }
        Ok(true)
    }

    /// Opens machines that were started and ends those that were stopped; whether there were any.
    async fn watch_runs(&mut self) -> Result<bool, EvaluateError> {
        let runs = self.step_functions.runs();
        let stopped = self.machines.iter().position(|running| {
            running.alive
                && runs
                    .get(&running.arn)
                    .is_some_and(|run| run.run.status == MachineStatus::Aborted)
        });
        if let Some(machine) = stopped {
            self.machine_ended(machine, MachineStatus::Aborted, None)
                .await?;
            return Ok(true);
        }
        // In the order of their starts: names begin with the time.
        let new = runs
            .into_iter()
            .find(|(arn, _)| !self.known_runs.contains(arn));
        let Some((arn, run)) = new else {
            return Ok(false);
        };
        self.known_runs.push(arn.clone());
        let name = arn.rsplit(':').next().unwrap_or_default().to_owned();
        if run.machine == self.finalize_machine {
            self.settle_run(name, run.input).await?;
            return Ok(true);
        }
        let definition = self
            .definitions
            .iter()
            .find(|(machine, _)| run.machine.starts_with(&format!("{machine}:")))
            .map(|(_, definition)| definition.clone())
            .ok_or_else(|| EvaluateError::Machine(format!("no definition of {}", run.machine)))?;
        self.machines.push(Running {
            name,
            arn,
            machine: Machine::new(definition),
            alive: true,
        });
        let at = self.machines.len() - 1;
        self.progress += 1;
        let next = match self.machines.get_mut(at) {
            Some(running) => running.machine.start()?,
            None => return Ok(true),
        };
        self.go_on(at, next).await?;
        Ok(true)
    }

    /// The loop of finalize's machine: settle, undo what it says, and again.
    async fn settle_run(&mut self, name: String, mut input: Value) -> Result<(), EvaluateError> {
        self.progress += 1;
        loop {
            let answer = match self.finalize.turn(&input, self.now).await {
                Ok(answer) => answer,
                Err(FunctionError::Waiting { poll, .. }) => {
                    let at = self.now.saturating_add(i64::from(poll.seconds()) * 1_000);
                    self.plan_event(at, Event::Settle { name, input });
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            if answer.get("done") == Some(&Value::Bool(true)) {
                self.step_functions
                    .end(&name, MachineStatus::Succeeded, None);
                return Ok(());
            }
            let payload = answer.pointer("/undo/payload").cloned().unwrap_or_default();
            let call = self.new_call(payload.clone());
            let answer = self.runtime.handle(&call).await;
            if let Some(fields) = input.as_object_mut() {
                let failed = match answer {
                    Ok(()) => json!({}),
                    Err(refusal) => json!({
                        "stage": payload.get("stage"),
                        "action": payload.get("undo"),
                        "error": refusal.name,
                        "cause": refusal.message,
                    }),
                };
                fields.insert("failed".to_owned(), failed);
            }
        }
    }

    /// Executions in the order of the answer: the starts, then the children by their time.
    pub async fn executions(&self) -> Result<Vec<ExecutionId>, EvaluateError> {
        let mut all: Vec<ExecutionId> = self.started.iter().flatten().cloned().collect();
        let mut children = Vec::new();
        for pipeline in self.case.pipelines.iter().skip(1) {
            let of = self
                .store
                .executions_of_pipeline(&pipeline.id, 1_000)
                .await?;
            children.extend(of.into_iter().map(|child| (child.build_time, child.id)));
        }
        children.sort();
        for (_, id) in children {
            if !all.contains(&id) {
                all.push(id);
            }
        }
        Ok(all)
    }

    pub fn lists_executions(&self) -> bool {
        self.case.lists_executions
    }
}

/// The last of a stage's sub-stages before its task that begin together.
fn side_by_side<'a>(plan: &'a Plan, ref_id: &'a str) -> Vec<&'a PlanStage> {
    let before = |stage: &&PlanStage| stage.owner == Some(Owner::Before);
    let last = plan.children(ref_id).filter(before).last();
    plan.children(ref_id)
        .filter(before)
        .filter(|stage| last.is_some_and(|last| last.requisites == stage.requisites))
        .collect()
}

fn refusal(error: FunctionError) -> Refusal {
    let name = match &error {
        FunctionError::Waiting { poll, .. } => poll.error_name(),
        FunctionError::Cloud(_) => gennaker_domain::error_name::THROTTLED,
        FunctionError::Invalid(_) => gennaker_domain::error_name::INVALID_CONFIGURATION,
    };
    Refusal {
        name,
        message: error.to_string(),
    }
}

/// A text of a payload: JSONata if it stands between `{%` and `%}`, of which the compiler uses two names and string
/// literals.
fn evaluated(text: &str, run: &str) -> Option<String> {
    let Some(code) = text
        .strip_prefix("{%")
        .and_then(|text| text.strip_suffix("%}"))
    else {
        return Some(text.to_owned());
    };
    match code.trim() {
        "$states.context.Execution.Name" => Some(run.to_owned()),
        // A JSONata string literal is a JSON string.
        literal => serde_json::from_str(literal).ok(),
    }
}
