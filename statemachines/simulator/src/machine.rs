//! The states language as the compiler emits it: `Task`, `Parallel`, `Succeed`, `Pass`, in virtual time.

use std::{cmp::Reverse, collections::BinaryHeap};

use gennaker_domain::{Owner, PlanStage, Problem, Status, error_name::Poll, rollup};
use serde_json::{Map, Value};

use crate::stage::{Answer, Stages};

/// What is left when a machine has ended.
pub(crate) struct Run<'a> {
    pub stages: Stages<'a>,
    pub status: Status,
    pub ended: i64,
    pub transitions: u64,
    pub events: u64,
    pub visited: Vec<String>,
}

type Answered<T> = Result<T, Box<Problem>>;

/// A machine or one branch of a `Parallel`.
struct Scope<'d> {
    states: &'d Map<String, Value>,
    /// The scope that it is a branch of, and the state there.
    parent: Option<(usize, &'d str)>,
    alive: bool,
    /// Branches of the `Parallel` that it is in, which have not ended.
    open_branches: usize,
}

/// A Task that has been entered and is not over.
struct Work<'d> {
    scope: usize,
    state: &'d str,
    ref_id: String,
    is_join: bool,
    entered: i64,
    /// Literal time-out of a Task with a token.
    looks_again_seconds: Option<u64>,
    over: bool,
}

pub(crate) struct Machine<'a, 'd> {
    definition: &'d Value,
    stages: Stages<'a>,
    scopes: Vec<Scope<'d>>,
    work: Vec<Work<'d>>,
    /// Works that wait for other stages.
    held: Vec<usize>,
    /// Ends of works, by time and then by the order in which they began.
    queue: BinaryHeap<Reverse<(i64, usize)>>,
    /// Scopes that failed at this instant; they fall when everything else that happens in it has happened.
    failing: Vec<usize>,
    failed: bool,
    now: i64,
    transitions: u64,
    events: u64,
    visited: Vec<String>,
}

/// Events around an execution.
const EXECUTION_EVENTS: u64 = 2;
/// Entered, scheduled, started, ended, exited.
const TASK_EVENTS: u64 = 5;
/// Failed or timed out, scheduled, started.
const RETRY_EVENTS: u64 = 3;
/// Entered, started, succeeded, exited.
const PARALLEL_EVENTS: u64 = 4;

impl<'a, 'd> Machine<'a, 'd> {
    pub fn new(definition: &'d Value, stages: Stages<'a>) -> Self {
        Self {
            definition,
            now: stages.start,
            stages,
            scopes: Vec::new(),
            work: Vec::new(),
            held: Vec::new(),
            queue: BinaryHeap::new(),
            failing: Vec::new(),
            failed: false,
            transitions: 0,
            events: EXECUTION_EVENTS,
            visited: Vec::new(),
        }
    }

    /// Runs the machine to its end.
    pub fn run(mut self) -> Answered<Run<'a>> {
        self.open(self.definition, None)?;
        loop {
            let next = self.queue.peek().map(|Reverse((time, _))| *time);
            if next.is_none_or(|next| next > self.now) {
                // Everything of this instant has happened.
                self.fall();
                if self.failed {
                    break;
                }
            }
            let Some(Reverse((time, work))) = self.queue.pop() else {
                break;
            };
            self.now = time;
            self.end_work(work)?;
        }
        Ok(self.ended())
    }

    fn ended(mut self) -> Run<'a> {
        let status = rollup::execution_status(self.stages.plan, &self.stages.records);
        let now = self.now;
        let running: Vec<String> = self
            .stages
            .records
            .values()
            .filter(|record| record.status == Status::Running)
            .map(|record| record.ref_id.clone())
            .collect();
        for ref_id in running {
            self.stages.cancel(&ref_id, now);
        }
        Run {
            status,
            ended: now,
            transitions: self.transitions,
            events: self.events,
            visited: self.visited,
            stages: self.stages,
        }
    }

    /// Enters a machine or a branch.
    fn open(&mut self, machine: &'d Value, parent: Option<(usize, &'d str)>) -> Answered<()> {
        let states = machine
            .get("States")
            .and_then(Value::as_object)
            .ok_or_else(|| broken("`States` is missing"))?;
        let start = machine
            .get("StartAt")
            .and_then(Value::as_str)
            .ok_or_else(|| broken("`StartAt` is missing"))?;
        self.scopes.push(Scope {
            states,
            parent,
            alive: true,
            open_branches: 0,
        });
        self.enter(self.scopes.len() - 1, start)
    }

    /// Enters states one after the other until one takes time.
    fn enter(&mut self, scope: usize, name: &str) -> Answered<()> {
        let mut next: Option<(usize, &'d str)> = Some((scope, self.known(scope, name)?));
        while let Some((scope, name)) = next {
            self.transitions += 1;
            self.visited.push(name.to_owned());
            let state = self.state(scope, name)?;
            next = match state.get("Type").and_then(Value::as_str) {
                Some("Task") => {
                    self.events += TASK_EVENTS;
                    if self.task(scope, name, state)? {
                        self.after(scope, name)?
                    } else {
                        None
                    }
                }
                Some("Parallel") => {
                    self.events += PARALLEL_EVENTS;
                    self.parallel(scope, name, state)?
                }
                Some("Pass") => self.after(scope, name)?,
                Some("Succeed") => self.leave(scope)?,
                _ => return Err(broken(&format!("state `{name}` has an unknown type"))),
            };
        }
        Ok(())
    }

    /// Opens the branches of a `Parallel`; they may all end at once.
    fn parallel(
        &mut self,
        scope: usize,
        name: &'d str,
        state: &'d Value,
    ) -> Answered<Option<(usize, &'d str)>> {
        let branches = state
            .get("Branches")
            .and_then(Value::as_array)
            .filter(|branches| !branches.is_empty())
            .ok_or_else(|| broken(&format!("`{name}` has no branches")))?;
        if let Some(scope) = self.scopes.get_mut(scope) {
            scope.open_branches = branches.len();
        }
        for branch in branches {
            self.open(branch, Some((scope, name)))?;
        }
        // The last branch to end goes on from here, see `leave`.
        Ok(None)
    }

    /// Calls the function of a Task; whether it is over at once.
    fn task(&mut self, scope: usize, name: &'d str, state: &'d Value) -> Answered<bool> {
        let arguments = state.get("Arguments");
        let payload = arguments.and_then(|arguments| arguments.get("Payload"));
        let field = |name: &str| {
            payload
                .and_then(|payload| payload.get(name))
                .and_then(Value::as_str)
        };
        let run = field("run").map(|text| self.evaluated(text)).transpose()?;
        let ref_id = field("stage")
            .map(|text| self.evaluated(text))
            .transpose()?;
        let (Some(run), Some(ref_id)) = (run, ref_id) else {
            return Err(broken(&format!("`{name}` has no `run` and `stage`")));
        };
        if run != self.stages.run_name() {
            return Err(broken(&format!("`{name}` does not pass on its run")));
        }
        let function = arguments
            .and_then(|arguments| arguments.get("FunctionName"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let stage = self
            .stages
            .stage(&ref_id)
            .ok_or_else(|| broken(&format!("`{name}` is for a stage that is not in the plan")))?;
        let is_join = function.ends_with("-join:live");
        let served = stage.function.as_deref().is_some_and(|own| {
            function
                .strip_suffix(":live")
                .is_some_and(|function| function.ends_with(&format!("-{own}")))
        });
        if !is_join && !served {
            return Err(broken(&format!("`{name}` calls the wrong function")));
        }
        let looks_again_seconds = state.get("TimeoutSeconds").and_then(Value::as_u64);
        if looks_again_seconds.is_some() {
            self.events += 1;
        }
        self.work.push(Work {
            scope,
            state: name,
            ref_id,
            is_join,
            entered: self.now,
            looks_again_seconds,
            over: false,
        });
        self.call(self.work.len() - 1, stage)
    }

    /// Calls a function and puts its work where it belongs; whether it is over at once.
    fn call(&mut self, work: usize, stage: &'a PlanStage) -> Answered<bool> {
        let is_join = self.work.get(work).is_some_and(|work| work.is_join);
        let answer = if is_join {
            self.stages.join(&stage.ref_id)
        } else {
            self.stages.call(stage, self.now)
        };
        match answer {
            Answer::Until(time) => self.queue.push(Reverse((time, work))),
            Answer::Held => self.held.push(work),
            Answer::Done => {
                self.polls(work);
                if !is_join {
                    self.release(stage)?;
                }
                // The last stage for a failure raises it, also if it had nothing to do itself.
                if stage.owner == Some(Owner::OnFailure) && self.stages.halts(stage) {
                    if let Some(work) = self.work.get(work) {
                        self.failing.push(work.scope);
                    }
                    return Ok(false);
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The end of a work that took time.
    fn end_work(&mut self, work: usize) -> Answered<()> {
        let Some((scope, state, ref_id)) = self
            .work
            .get(work)
            .filter(|work| !work.over)
            .map(|work| (work.scope, work.state, work.ref_id.clone()))
        else {
            return Ok(());
        };
        if !self.scopes.get(scope).is_some_and(|scope| scope.alive) {
            return Ok(());
        }
        let Some(stage) = self.stages.stage(&ref_id) else {
            return Ok(());
        };
        self.polls(work);
        self.stages.end(stage, self.now);
        let halts = self.stages.halts(stage);
        if halts {
            self.failing.push(scope);
        }
        // Others may be ready now, in this very instant; also what follows a stage whose end only makes the halt of
        // another one count.
        self.release(stage)?;
        if halts && self.stages.has_halted(stage) {
            return Ok(());
        }
        if let Some((scope, next)) = self.after(scope, state)? {
            self.enter(scope, next)?;
        }
        Ok(())
    }

    /// Lets those go on that waited for a stage, or for a stage that it belongs to.
    fn release(&mut self, stage: &'a PlanStage) -> Answered<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let opens: Vec<&str> = self
            .stages
            .plan
            .lineage(&stage.ref_id)
            .into_iter()
            .flat_map(|stage| stage.opens.iter().map(String::as_str))
            .collect();
        let held = std::mem::take(&mut self.held);
        let mut over = Vec::new();
        for work in held {
            let Some((ref_id, is_join)) = self
                .work
                .get(work)
                .map(|work| (work.ref_id.clone(), work.is_join))
            else {
                continue;
            };
            // A join is woken, what polls sees for itself.
            let concerned = !is_join || opens.contains(&ref_id.as_str());
            match self.stages.stage(&ref_id) {
                Some(stage) if concerned => {
                    if self.call(work, stage)? {
                        over.push(work);
                    }
                }
                _ => self.held.push(work),
            }
        }
        for work in over {
            let Some((scope, state)) = self.work.get(work).map(|work| (work.scope, work.state))
            else {
                continue;
            };
            if let Some((scope, next)) = self.after(scope, state)? {
                self.enter(scope, next)?;
            }
        }
        Ok(())
    }

    /// Counts how often a Task was called again.
    fn polls(&mut self, work: usize) {
        let now = self.now;
        let Some(work) = self.work.get_mut(work) else {
            return;
        };
        work.over = true;
        let seconds = u64::try_from(now.saturating_sub(work.entered))
            .unwrap_or(0)
            .div_ceil(1000);
        let (retries, token) = match work.looks_again_seconds {
            Some(every) => (seconds / every.max(1), 1),
            None => (Poll::count(seconds), 0),
        };
        self.transitions += retries;
        self.events += retries * (RETRY_EVENTS + token);
    }

    /// Where a state goes: its `Next`, or out of its scope.
    fn after(&mut self, scope: usize, name: &'d str) -> Answered<Option<(usize, &'d str)>> {
        let state = self.state(scope, name)?;
        match state.get("Next").and_then(Value::as_str) {
            Some(next) => Ok(Some((scope, self.known(scope, next)?))),
            None if state.get("End") == Some(&Value::Bool(true)) => self.leave(scope),
            None => Err(broken(&format!("`{name}` goes nowhere"))),
        }
    }

    /// A scope ends well; the last branch of a `Parallel` takes its machine on.
    fn leave(&mut self, scope: usize) -> Answered<Option<(usize, &'d str)>> {
        let Some(parent) = self.scopes.get_mut(scope).and_then(|scope| {
            scope.alive = false;
            scope.parent
        }) else {
            return Ok(None);
        };
        let (scope, state) = parent;
        let left = self.scopes.get_mut(scope).map_or(1, |scope| {
            scope.open_branches = scope.open_branches.saturating_sub(1);
            scope.open_branches
        });
        if left > 0 {
            return Ok(None);
        }
        self.after(scope, state)
    }

    /// A failed branch takes its `Parallel` with it, whose other branches stop, and so on up to the machine.
    fn fall(&mut self) {
        for mut scope in std::mem::take(&mut self.failing) {
            while let Some((parent, _)) = self.scopes.get(scope).and_then(|scope| scope.parent) {
                scope = parent;
            }
            if let Some(root) = self.scopes.get_mut(scope) {
                root.alive = false;
            }
            self.failed = true;
        }
        if self.failed {
            self.scopes.iter_mut().for_each(|scope| scope.alive = false);
        }
    }

    fn state(&self, scope: usize, name: &str) -> Answered<&'d Value> {
        self.scopes
            .get(scope)
            .and_then(|scope| scope.states.get(name))
            .ok_or_else(|| broken(&format!("there is no state `{name}`")))
    }

    /// The name as the definition has it.
    fn known(&self, scope: usize, name: &str) -> Answered<&'d str> {
        self.scopes
            .get(scope)
            .and_then(|scope| scope.states.get_key_value(name))
            .map(|(name, _)| name.as_str())
            .ok_or_else(|| broken(&format!("there is no state `{name}`")))
    }

    /// A text of a payload: JSONata if it stands between `{%` and `%}`, of which the compiler uses two names and
    /// string literals.
    fn evaluated(&self, text: &str) -> Answered<String> {
        let Some(code) = text
            .strip_prefix("{%")
            .and_then(|text| text.strip_suffix("%}"))
        else {
            return Ok(text.to_owned());
        };
        match code.trim() {
            "$states.context.Execution.Name" => Ok(self.stages.run_name()),
            "$states.context.Task.Token" => Ok(String::new()),
            // A JSONata string literal is a JSON string.
            literal => serde_json::from_str(literal)
                .map_err(|_| broken(&format!("`{literal}` is not JSONata that is used here"))),
        }
    }
}

fn broken(message: &str) -> Box<Problem> {
    Box::new(Problem::error("bad-definition", "$", message))
}
