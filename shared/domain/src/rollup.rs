//! Statuses that are computed, never stored: of a stage from its task and its sub-stages, of an execution from its
//! stages; and from them which stage may start. The rules are those that the original engine was observed to follow.
//!
//! A stage runs in phases: its sub-stages before, its own task, its sub-stages after. What is left of a phase is not
//! started once one of its parts *decides*: it halted, or it ended FAILED_CONTINUE without
//! `allowSiblingStagesToContinueOnFailure`. The sub-stages for a failure run when the stage's status would be TERMINAL
//! or STOPPED, and the status is final after them.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::{FailurePolicy, Owner, Plan, PlanStage, StageRecord, Status};

/// Records by `refId`.
pub type Records = HashMap<String, StageRecord>;

/// Sub-stages of sub-stages: a pipeline has three levels, a plan that somebody else made is read no deeper than this.
const MAX_LEVELS: usize = 16;

/// Whether a stage may start, as its predecessors stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// All are complete and none halted.
    Ready,
    /// One halted and the others have ended: the stage never starts.
    Never {
        /// Which one.
        because_of: String,
    },
    /// These are not complete.
    NotYet {
        /// Their `refId`s.
        missing: Vec<String>,
    },
}

/// How far a stage with its sub-stages has come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Progress {
    /// Its status.
    status: Status,
    /// When it ended, if it has.
    ended: Option<i64>,
    /// What its sub-stages before and its own task came to, once they are over.
    main: Option<Status>,
    /// Whether its sub-stages for a failure have their turn, or had it.
    failed: bool,
    /// Who decided the phase before the own task, or that of the task.
    decider: Option<usize>,
}

impl Progress {
    fn open(status: Status) -> Self {
        Self {
            status,
            ended: None,
            main: None,
            failed: false,
            decider: None,
        }
    }
}

/// A plan and its records, looked at once: every answer is computed when it is first asked for and then kept.
#[derive(Debug)]
pub struct Rollup<'a> {
    plan: &'a Plan,
    records: &'a Records,
    index: HashMap<&'a str, usize>,
    children: Vec<Vec<usize>>,
    progress: RefCell<Vec<Option<Progress>>>,
    /// Top-level stages that have not started and never will, with the stage that halted.
    never: OnceCell<HashMap<usize, usize>>,
    /// Those of them whose turn is over.
    passed: OnceCell<HashSet<usize>>,
    /// By top-level stage, those that start after it.
    dependants: OnceCell<Vec<Vec<usize>>>,
}

impl<'a> Rollup<'a> {
    /// Of an execution.
    #[must_use]
    pub fn new(plan: &'a Plan, records: &'a Records) -> Self {
        let index: HashMap<&str, usize> = plan
            .stages
            .iter()
            .enumerate()
            .map(|(at, stage)| (stage.ref_id.as_str(), at))
            .collect();
        let mut children = vec![Vec::new(); plan.stages.len()];
        for (at, stage) in plan.stages.iter().enumerate() {
            let parent = stage.parent.as_deref().and_then(|parent| index.get(parent));
            if let Some(of) = parent.and_then(|parent| children.get_mut(*parent)) {
                of.push(at);
            }
        }
        Self {
            plan,
            records,
            progress: RefCell::new(vec![None; plan.stages.len()]),
            index,
            children,
            never: OnceCell::new(),
            passed: OnceCell::new(),
            dependants: OnceCell::new(),
        }
    }

    fn stage(&self, at: usize) -> Option<&'a PlanStage> {
        self.plan.stages.get(at)
    }

    fn record(&self, at: usize) -> Option<&'a StageRecord> {
        self.stage(at)
            .and_then(|stage| self.records.get(&stage.ref_id))
    }

    fn ref_id(&self, at: usize) -> String {
        self.stage(at)
            .map(|stage| stage.ref_id.clone())
            .unwrap_or_default()
    }

    /// The context as resolved, or as planned while it is not.
    fn context(&self, at: usize) -> Option<&'a Map<String, Value>> {
        self.record(at)
            .map(|record| &record.context)
            .filter(|context| !context.is_empty())
            .or_else(|| self.stage(at).map(|stage| &stage.context))
    }

    fn policy(&self, at: usize) -> FailurePolicy {
        self.context(at).map(FailurePolicy::of).unwrap_or_default()
    }

    fn own(&self, at: usize) -> Status {
        self.record(at)
            .map_or(Status::NotStarted, |record| record.status)
    }

    fn owned(&self, at: usize, owner: Owner) -> Vec<usize> {
        self.children
            .get(at)
            .into_iter()
            .flatten()
            .copied()
            .filter(|child| self.stage(*child).and_then(|child| child.owner) == Some(owner))
            .collect()
    }

    fn progress(&self, at: usize) -> Progress {
        self.progress_at(at, 0)
    }

    fn progress_at(&self, at: usize, level: usize) -> Progress {
        let kept = self.progress.borrow().get(at).cloned().flatten();
        if let Some(kept) = kept {
            return kept;
        }
        let computed = self.compute(at, level);
        if let Some(place) = self.progress.borrow_mut().get_mut(at) {
            *place = Some(computed.clone());
        }
        computed
    }

    /// Whether a complete part lets nothing else of its phase start.
    fn decides(&self, at: usize, status: Status) -> bool {
        let siblings_go_on = || {
            self.context(at)
                .and_then(|context| context.get("allowSiblingStagesToContinueOnFailure"))
                == Some(&Value::Bool(true))
        };
        status.is_halt() || (status == Status::FailedContinue && !siblings_go_on())
    }

    /// The part of a phase that decided it first.
    fn decider(&self, parts: &[usize], level: usize) -> Option<(usize, i64)> {
        parts
            .iter()
            .filter_map(|part| {
                let progress = self.progress_at(*part, level + 1);
                self.decides(*part, progress.status)
                    .then(|| (*part, progress.ended.unwrap_or(i64::MAX)))
            })
            .min_by_key(|(_, ended)| *ended)
    }

    fn compute(&self, at: usize, level: usize) -> Progress {
        let own = self.own(at);
        let own_end = self.record(at).and_then(|record| record.end_time);
        let whole = |status: Status| Progress {
            status,
            ended: own_end.filter(|_| status.is_complete()),
            main: status.is_complete().then_some(status),
            failed: false,
            decider: None,
        };
        let children = self.children.get(at).map_or(&[][..], Vec::as_slice);
        if children.is_empty() || level >= MAX_LEVELS {
            return whole(own);
        }
        let has_task = self.stage(at).is_some_and(|stage| stage.function.is_some());
        // The whole stage was skipped, or settled by finalize: its record says so whatever its sub-stages did.
        if !has_task && own.is_complete() {
            return whole(own);
        }
        let status_of = |part: &usize| self.progress_at(*part, level + 1);
        let before = self.owned(at, Owner::Before);
        let mut parts: Vec<Status>;
        let mut ended: Option<i64>;
        let mut decider = None;
        if let Some((by, when)) = self.decider(&before, level) {
            // What runs beside it runs on, and changes nothing any more.
            parts = before
                .iter()
                .map(status_of)
                .filter(|part| part.status.is_complete() && part.ended.unwrap_or(i64::MAX) <= when)
                .map(|part| part.status)
                .collect();
            ended = Some(when).filter(|when| *when < i64::MAX);
            decider = Some(by);
        } else {
            let passed = before
                .iter()
                .all(|part| status_of(part).status.is_complete());
            parts = before.iter().map(|part| status_of(part).status).collect();
            ended = before.iter().filter_map(|part| status_of(part).ended).max();
            if has_task {
                parts.push(own);
                ended = own_end.or(ended);
            }
            if !passed || (has_task && !own.is_complete()) {
                let untouched = parts.iter().all(|status| *status == Status::NotStarted);
                return Progress::open(if untouched {
                    Status::NotStarted
                } else {
                    Status::Running
                });
            }
            if has_task && self.decides(at, own) {
                decider = Some(at);
            }
        }
        let main = self.of_parts(at, &parts);
        let mut progress = Progress {
            status: main,
            ended,
            main: Some(main),
            failed: false,
            decider,
        };
        if main.lets_dependants_start() {
            let after = self.owned(at, Owner::After);
            if !self.run_through(at, &after, level, &mut parts, &mut progress) {
                progress.status = Status::Running;
                progress.ended = None;
                return progress;
            }
        }
        if matches!(progress.status, Status::Terminal | Status::Stopped) {
            progress.failed = true;
            let on_failure = self.owned(at, Owner::OnFailure);
            if !self.run_through(at, &on_failure, level, &mut parts, &mut progress) {
                progress.status = Status::Running;
                progress.ended = None;
            }
        }
        progress
    }

    /// Takes sub-stages that run one after the other into account; whether they are over.
    fn run_through(
        &self,
        at: usize,
        line: &[usize],
        level: usize,
        parts: &mut Vec<Status>,
        progress: &mut Progress,
    ) -> bool {
        for part in line {
            let of = self.progress_at(*part, level + 1);
            if !of.status.is_complete() {
                return false;
            }
            parts.push(of.status);
            progress.ended = progress.ended.max(of.ended);
            if self.decides(*part, of.status) {
                break;
            }
        }
        progress.status = self.of_parts(at, parts);
        true
    }

    /// The status of a stage whose parts ended like this.
    fn of_parts(&self, at: usize, parts: &[Status]) -> Status {
        if parts.contains(&Status::Terminal) {
            // The stage's own task has been through the policy, and a failed expression ends it whatever that says.
            return match self.own(at) {
                Status::Terminal => Status::Terminal,
                _ => self.policy(at).outcome(Status::Terminal),
            };
        }
        for passed_on in [Status::Stopped, Status::Canceled, Status::FailedContinue] {
            if parts.contains(&passed_on) {
                return passed_on;
            }
        }
        if !parts.is_empty() && parts.iter().all(|status| *status == Status::Skipped) {
            Status::Skipped
        } else {
            Status::Succeeded
        }
    }

    /// The status of a stage with its sub-stages.
    #[must_use]
    pub fn status(&self, ref_id: &str) -> Status {
        self.index
            .get(ref_id)
            .map_or(Status::NotStarted, |at| self.progress(*at).status)
    }

    /// Whether its sub-stages for a failure have their turn, or had it: the stage would end, or ended, TERMINAL or
    /// STOPPED.
    #[must_use]
    pub fn failed(&self, ref_id: &str) -> bool {
        self.index
            .get(ref_id)
            .is_some_and(|at| self.progress(*at).failed)
    }

    /// Whether its sub-stages after its task have their turn, or had it.
    #[must_use]
    pub fn goes_on_after_task(&self, ref_id: &str) -> bool {
        let main = |at: &usize| self.progress(*at).main;
        self.index
            .get(ref_id)
            .and_then(main)
            .is_some_and(Status::lets_dependants_start)
    }

    /// When a stage with its sub-stages started and ended, UTC milliseconds.
    #[must_use]
    pub fn times(&self, ref_id: &str) -> (Option<i64>, Option<i64>) {
        let Some(at) = self.index.get(ref_id).copied() else {
            return (None, None);
        };
        (self.started(at, 0), self.progress(at).ended)
    }

    fn started(&self, at: usize, level: usize) -> Option<i64> {
        let own = self.record(at).and_then(|record| record.start_time);
        let children = self.children.get(at).filter(|_| level < MAX_LEVELS);
        own.into_iter()
            .chain(
                children
                    .into_iter()
                    .flatten()
                    .filter_map(|child| self.started(*child, level + 1)),
            )
            .min()
    }

    /// By top-level stage, those that start after it.
    fn dependants(&self) -> &Vec<Vec<usize>> {
        self.dependants.get_or_init(|| {
            let mut dependants = vec![Vec::new(); self.plan.stages.len()];
            for (at, _) in self.top_level() {
                for before in self.predecessors(at) {
                    if let Some(list) = dependants.get_mut(before) {
                        list.push(at);
                    }
                }
            }
            dependants
        })
    }

    /// Top-level stages that never start, because something they start after halted; by which.
    fn never(&self) -> &HashMap<usize, usize> {
        self.never.get_or_init(|| {
            let dependants = self.dependants();
            let mut work: Vec<(usize, usize)> = self
                .top_level()
                .filter(|(at, _)| self.progress(*at).status.is_halt())
                .map(|(at, _)| (at, at))
                .collect();
            let mut never = HashMap::new();
            while let Some((at, halted)) = work.pop() {
                for next in dependants.get(at).into_iter().flatten() {
                    if self.progress(*next).status == Status::NotStarted
                        && !never.contains_key(next)
                    {
                        never.insert(*next, halted);
                        work.push((*next, halted));
                    }
                }
            }
            never
        })
    }

    /// Those that never start and have had their turn: whatever they start after has ended or was passed by likewise. Only
    /// then does the machine go on behind them, and only then may anybody who waits for them: what comes behind *that*
    /// relies on it.
    fn passed(&self) -> &HashSet<usize> {
        self.passed.get_or_init(|| {
            let never = self.never();
            let mut open: HashMap<usize, usize> = never
                .keys()
                .map(|at| {
                    let runs = |before: &usize| !self.progress(*before).status.is_complete();
                    (
                        *at,
                        self.predecessors(*at)
                            .iter()
                            .filter(|before| runs(before))
                            .count(),
                    )
                })
                .collect();
            let mut work: Vec<usize> = open
                .iter()
                .filter(|(_, count)| **count == 0)
                .map(|(at, _)| *at)
                .collect();
            let mut passed = HashSet::new();
            while let Some(at) = work.pop() {
                passed.insert(at);
                for next in self.dependants().get(at).into_iter().flatten() {
                    if let Some(count) = open.get_mut(next) {
                        *count = count.saturating_sub(1);
                        if *count == 0 {
                            work.push(*next);
                        }
                    }
                }
            }
            passed
        })
    }

    /// What a top-level stage starts after, its own sub-stages left out.
    fn predecessors(&self, at: usize) -> Vec<usize> {
        let Some(stage) = self.stage(at) else {
            return Vec::new();
        };
        stage
            .starts_after
            .iter()
            .filter_map(|before| self.index.get(before.ref_id.as_str()).copied())
            .filter(|before| {
                self.stage(*before)
                    .is_some_and(|before| before.parent.as_deref() != Some(stage.ref_id.as_str()))
            })
            .collect()
    }

    /// Whether the first of a stage's parts may start: what its join waits for.
    #[must_use]
    pub fn may_begin(&self, ref_id: &str) -> Readiness {
        self.index
            .get(ref_id)
            .map_or_else(unknown, |at| self.begin(*at, 0))
    }

    fn begin(&self, at: usize, level: usize) -> Readiness {
        let Some(stage) = self.stage(at) else {
            return unknown();
        };
        let parent = stage
            .parent
            .as_deref()
            .and_then(|parent| self.index.get(parent));
        let Some(parent) = parent.copied().filter(|_| level < MAX_LEVELS) else {
            return self.begin_top(at);
        };
        match self.begin(parent, level + 1) {
            Readiness::Ready => {}
            other => return other,
        }
        let of = self.progress(parent);
        let never = |by: usize| Readiness::Never {
            because_of: self.ref_id(by),
        };
        let not_yet = || Readiness::NotYet {
            missing: vec![self.ref_id(parent)],
        };
        match stage.owner {
            Some(Owner::After) => match of.main {
                Some(main) if main.lets_dependants_start() => {}
                Some(_) => return never(of.decider.unwrap_or(parent)),
                None => return not_yet(),
            },
            Some(Owner::OnFailure) => {
                if !of.failed {
                    return if of.status.is_complete() {
                        never(parent)
                    } else {
                        not_yet()
                    };
                }
            }
            Some(Owner::Before) | None => {
                if let Some(decider) = of.decider {
                    return never(decider);
                }
            }
        }
        // Those of the same level that come before it.
        let mut missing = Vec::new();
        let earlier = stage
            .requisites
            .iter()
            .filter_map(|before| self.index.get(before.as_str()).copied());
        for before in earlier {
            let status = self.progress(before).status;
            if self.decides(before, status) {
                return never(before);
            }
            // What never starts leaves the rest of its line as it is.
            if status == Status::NotStarted
                && level < MAX_LEVELS
                && let Readiness::Never { because_of } = self.begin(before, level + 1)
            {
                return Readiness::Never { because_of };
            }
            if !status.is_complete() {
                missing.push(self.ref_id(before));
            }
        }
        if missing.is_empty() {
            Readiness::Ready
        } else {
            Readiness::NotYet { missing }
        }
    }

    fn begin_top(&self, at: usize) -> Readiness {
        let mut missing = Vec::new();
        let mut halted = None;
        for before in self.predecessors(at) {
            let status = self.progress(before).status;
            if status.is_halt() {
                halted = halted.or(Some(before));
            } else if self.passed().contains(&before) {
                halted = halted.or(self.never().get(&before).copied());
            } else if !status.lets_dependants_start() {
                missing.push(self.ref_id(before));
            }
        }
        match halted {
            // Only when the others have ended, too: it is then that the stage is looked at.
            _ if !missing.is_empty() => Readiness::NotYet { missing },
            Some(halted) => Readiness::Never {
                because_of: self.ref_id(halted),
            },
            None => Readiness::Ready,
        }
    }

    /// Whether a stage's own task may start: its sub-stages before it are complete, too.
    #[must_use]
    pub fn readiness(&self, ref_id: &str) -> Readiness {
        let Some(at) = self.index.get(ref_id).copied() else {
            return unknown();
        };
        match self.begin(at, 0) {
            Readiness::Ready => {}
            other => return other,
        }
        let before = self.owned(at, Owner::Before);
        if let Some((by, _)) = self.decider(&before, 0) {
            return Readiness::Never {
                because_of: self.ref_id(by),
            };
        }
        let missing: Vec<String> = before
            .into_iter()
            .filter(|part| !self.progress(*part).status.is_complete())
            .map(|part| self.ref_id(part))
            .collect();
        if missing.is_empty() {
            Readiness::Ready
        } else {
            Readiness::NotYet { missing }
        }
    }

    fn top_level(&self) -> impl Iterator<Item = (usize, &'a PlanStage)> {
        let plan: &'a Plan = self.plan;
        plan.stages
            .iter()
            .enumerate()
            .filter(|(_, stage)| stage.parent.is_none())
    }

    /// The status of the execution; RUNNING while it is not decided.
    ///
    /// In order: all SUCCEEDED, SKIPPED or FAILED_CONTINUE is SUCCEEDED; any TERMINAL is TERMINAL; any CANCELED is
    /// CANCELED; any STOPPED with no other branch to go on is TERMINAL if a stopped stage has
    /// `completeOtherBranchesThenFail`, else SUCCEEDED.
    #[must_use]
    pub fn execution_status(&self) -> Status {
        let top: Vec<(usize, Status)> = self
            .top_level()
            .map(|(at, _)| (at, self.progress(at).status))
            .collect();
        if top.is_empty() {
            return Status::Terminal;
        }
        if top.iter().all(|(_, status)| status.lets_dependants_start()) {
            return Status::Succeeded;
        }
        let any = |wanted: Status| top.iter().any(|(_, status)| *status == wanted);
        for decided in [Status::Terminal, Status::Canceled] {
            if any(decided) {
                return decided;
            }
        }
        let goes_on = top.iter().any(|(at, status)| {
            *status == Status::Running
                || (*status == Status::NotStarted && self.begin(*at, 0) == Readiness::Ready)
        });
        if !any(Status::Stopped) || goes_on {
            return Status::Running;
        }
        let fails = (0..self.plan.stages.len()).any(|at| {
            self.progress(at).status == Status::Stopped
                && self.policy(at).fails_pipeline_at_the_end()
        });
        if fails {
            Status::Terminal
        } else {
            Status::Succeeded
        }
    }

    /// How the execution ends with the end of `ref_id`, or of the top-level stage that it belongs to, if it does:
    /// TERMINAL or CANCELED. What runs is then cancelled.
    ///
    /// An execution is looked at when a stage halts, when one without dependants completes, and when one completes
    /// whose dependant can never start. In a first run only a halt makes a difference. In a restarted one, stages that
    /// failed or were cancelled in an earlier run stay as they are, and count the next time it is looked at.
    #[must_use]
    pub fn halt(&self, ref_id: &str) -> Option<Status> {
        let mut at = self.index.get(ref_id).copied()?;
        for _ in 0..MAX_LEVELS {
            match self.stage(at).and_then(|stage| stage.parent.as_deref()) {
                Some(parent) => at = self.index.get(parent).copied()?,
                None => break,
            }
        }
        let status = self.progress(at).status;
        if !status.is_complete() {
            return None;
        }
        let looked_at = status.is_halt() || {
            let mut dependants = self
                .top_level()
                .filter(|(other, _)| self.predecessors(*other).contains(&at))
                .peekable();
            // A dependant whose other requisites are complete is called now, and looks itself.
            dependants.peek().is_none()
                || dependants.any(|(next, _)| self.can_never(next) && !self.is_called(next))
        };
        if looked_at { self.halted() } else { None }
    }

    /// How the execution ends because the top-level stage `ref_id`, which never starts, is called in run `run`:
    /// TERMINAL or CANCELED. Only if one of its requisites completed in that run.
    #[must_use]
    pub fn halt_at(&self, ref_id: &str, run: u32) -> Option<Status> {
        let at = self.index.get(ref_id).copied()?;
        let made_to_look = self.stage(at).is_some_and(|stage| stage.parent.is_none())
            && self.predecessors(at).into_iter().any(|before| {
                self.progress(before).status.lets_dependants_start()
                    && self.last_run(before, 0) == Some(run)
            });
        if made_to_look { self.halted() } else { None }
    }

    /// Whether something that a top-level stage starts after halted.
    fn can_never(&self, at: usize) -> bool {
        self.predecessors(at).into_iter().any(|before| {
            self.progress(before).status.is_halt() || self.never().contains_key(&before)
        })
    }

    /// Whether a stage's Task has its turn: everything that it starts after has ended, or was passed by.
    fn is_called(&self, at: usize) -> bool {
        self.predecessors(at).into_iter().all(|before| {
            self.progress(before).status.is_complete() || self.passed().contains(&before)
        })
    }

    /// The last run in which any part of a stage worked.
    fn last_run(&self, at: usize, level: usize) -> Option<u32> {
        let children = self.children.get(at).filter(|_| level < MAX_LEVELS);
        self.record(at)
            .map(|record| record.run)
            .into_iter()
            .chain(
                children
                    .into_iter()
                    .flatten()
                    .filter_map(|child| self.last_run(*child, level + 1)),
            )
            .max()
    }

    fn halted(&self) -> Option<Status> {
        [Status::Terminal, Status::Canceled]
            .into_iter()
            .find(|decided| {
                self.top_level()
                    .any(|(at, _)| self.progress(at).status == *decided)
            })
    }
}

fn unknown() -> Readiness {
    Readiness::NotYet {
        missing: Vec::new(),
    }
}

/// Status of the stage's own task: of a stage without one, what its sub-stages make of it.
#[must_use]
pub fn task_status(records: &Records, ref_id: &str) -> Status {
    records
        .get(ref_id)
        .map_or(Status::NotStarted, |record| record.status)
}

/// Status of a stage with all its sub-stages: [`Rollup::status`] for one question.
#[must_use]
pub fn stage_status(plan: &Plan, records: &Records, ref_id: &str) -> Status {
    Rollup::new(plan, records).status(ref_id)
}

/// Whether the stage's own task may start: [`Rollup::readiness`] for one question.
#[must_use]
pub fn readiness(plan: &Plan, records: &Records, ref_id: &str) -> Readiness {
    Rollup::new(plan, records).readiness(ref_id)
}

/// Whether the first of a stage's parts may start, what its join waits for: [`Rollup::may_begin`] for one question.
#[must_use]
pub fn may_begin(plan: &Plan, records: &Records, ref_id: &str) -> Readiness {
    Rollup::new(plan, records).may_begin(ref_id)
}

/// Status of an execution from its stages: [`Rollup::execution_status`] for one question.
#[must_use]
pub fn execution_status(plan: &Plan, records: &Records) -> Status {
    Rollup::new(plan, records).execution_status()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A plan of `{"refId","parent"?,"owner"?,"after"?,…}`.
    fn plan(stages: Value) -> Plan {
        let stages: Vec<Value> = stages
            .as_array()
            .unwrap()
            .iter()
            .map(|given| {
                let after = given.get("after").cloned().unwrap_or_else(|| json!([]));
                let starts: Vec<Value> = after
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|id| json!({ "refId": id, "whole": true }))
                    .collect();
                let mut stage = json!({
                    "type": "wait", "name": "", "function": "wait", "context": {},
                    "requisites": after, "startsAfter": starts,
                });
                stage
                    .as_object_mut()
                    .unwrap()
                    .extend(given.as_object().unwrap().clone());
                stage
            })
            .collect();
        serde_json::from_value(json!({
            "schema": 1, "application": "shop", "pipeline": "p", "pipelineId": "p", "spelEvaluator": "v4",
            "stages": stages,
        }))
        .unwrap()
    }

    /// Records by status, start and end; an end of 0 is none.
    fn records(of: &[(&str, Status, i64, i64)]) -> Records {
        of.iter()
            .map(|(ref_id, status, start, end)| {
                let record = StageRecord {
                    status: *status,
                    run: 1,
                    start_time: Some(*start),
                    end_time: Some(*end).filter(|end| *end > 0),
                    ..StageRecord::not_started(ref_id)
                };
                ((*ref_id).to_owned(), record)
            })
            .collect()
    }

    fn three_before(own: Value) -> Plan {
        let mut top = json!({"refId": "1"});
        top.as_object_mut()
            .unwrap()
            .insert("context".to_owned(), own);
        plan(json!([
            top,
            {"refId": "1<1", "parent": "1", "owner": "STAGE_BEFORE"},
            {"refId": "1<2", "parent": "1", "owner": "STAGE_BEFORE", "after": ["1<1"]},
            {"refId": "1<3", "parent": "1", "owner": "STAGE_BEFORE", "after": ["1<2"]},
            {"refId": "1>1", "parent": "1", "owner": "STAGE_AFTER"},
            {"refId": "1>2", "parent": "1", "owner": "ON_FAILURE"},
            {"refId": "2", "after": ["1"]},
        ]))
    }

    use Status::{Canceled, FailedContinue, Running, Stopped, Succeeded, Terminal};

    #[test]
    fn an_ignored_failure_of_a_sub_stage_leaves_its_siblings_and_the_task_and_runs_the_stages_after()
     {
        let plan = three_before(json!({}));
        let mut seen = records(&[("1<1", Succeeded, 0, 4), ("1<2", FailedContinue, 4, 8)]);
        let rollup = Rollup::new(&plan, &seen);
        let never = Readiness::Never {
            because_of: "1<2".to_owned(),
        };
        assert_eq!(rollup.readiness("1<3"), never);
        assert_eq!(rollup.readiness("1"), never);
        assert_eq!(rollup.readiness("1>1"), Readiness::Ready);
        assert_eq!(rollup.status("1"), Running);
        seen.extend(records(&[("1>1", Succeeded, 8, 12)]));
        let rollup = Rollup::new(&plan, &seen);
        assert_eq!(rollup.status("1"), FailedContinue);
        assert_eq!(rollup.times("1"), (Some(0), Some(12)));
        assert_eq!(rollup.readiness("2"), Readiness::Ready);
        assert!(matches!(rollup.readiness("1>2"), Readiness::Never { .. }));
    }

    #[test]
    fn siblings_go_on_where_the_failed_one_says_so_and_the_stage_ends_failed_continue_all_the_same()
    {
        let mut plan = three_before(json!({}));
        for stage in plan.stages.iter_mut().filter(|s| s.ref_id == "1<2") {
            stage.context.insert(
                "allowSiblingStagesToContinueOnFailure".to_owned(),
                true.into(),
            );
        }
        let seen = records(&[("1<1", Succeeded, 0, 4), ("1<2", FailedContinue, 4, 8)]);
        assert_eq!(readiness(&plan, &seen, "1<3"), Readiness::Ready);
        let seen = records(&[
            ("1<1", Succeeded, 0, 4),
            ("1<2", FailedContinue, 4, 8),
            ("1<3", Succeeded, 8, 9),
            ("1", Succeeded, 9, 10),
            ("1>1", Succeeded, 10, 11),
        ]);
        assert_eq!(stage_status(&plan, &seen, "1"), FailedContinue);
    }

    #[test]
    fn the_stages_for_a_failure_run_for_a_failure_that_halts_and_never_for_one_that_is_ignored_or_canceled()
     {
        for (status, own, runs) in [
            (Terminal, json!({}), true),
            (Stopped, json!({}), true),
            (Terminal, json!({"failPipeline": false}), true),
            (Terminal, json!({"continuePipeline": true}), false),
            (Canceled, json!({}), false),
        ] {
            let plan = three_before(own.clone());
            let seen = records(&[("1<1", status, 0, 4)]);
            let rollup = Rollup::new(&plan, &seen);
            let ready = rollup.readiness("1>2") == Readiness::Ready;
            assert_eq!(ready, runs, "{status} under {own}");
            assert_eq!(rollup.halt("1<1").is_some(), status == Canceled, "{status}");
        }
        let plan = three_before(json!({}));
        let seen = records(&[("1<1", Terminal, 0, 4), ("1>2", Succeeded, 4, 9)]);
        let rollup = Rollup::new(&plan, &seen);
        assert_eq!(rollup.status("1"), Terminal);
        assert_eq!(rollup.halt("1>2"), Some(Terminal));
        assert_eq!(rollup.times("1"), (Some(0), Some(9)));
        assert!(matches!(rollup.readiness("1>1"), Readiness::Never { .. }));
    }

    #[test]
    fn what_runs_beside_a_sub_stage_that_has_decided_changes_nothing_any_more() {
        let plan = plan(json!([
            {"refId": "1"},
            {"refId": "1<1", "parent": "1", "owner": "STAGE_BEFORE"},
            {"refId": "1<2", "parent": "1", "owner": "STAGE_BEFORE"},
        ]));
        let seen = records(&[("1<1", FailedContinue, 0, 4), ("1<2", Running, 0, 0)]);
        let rollup = Rollup::new(&plan, &seen);
        assert_eq!(rollup.status("1"), FailedContinue);
        assert_eq!(rollup.times("1").1, Some(4));
        let seen = records(&[("1<1", FailedContinue, 0, 4), ("1<2", Terminal, 0, 9)]);
        assert_eq!(stage_status(&plan, &seen, "1"), FailedContinue);
    }

    #[test]
    fn a_join_waits_for_requisites_and_not_for_the_sub_stages_behind_it() {
        let plan = plan(json!([
            {"refId": "1"},
            {"refId": "2", "after": ["1"]},
            {"refId": "2<1", "parent": "2", "owner": "STAGE_BEFORE"},
        ]));
        let seen = records(&[("1", Succeeded, 0, 4)]);
        assert_eq!(may_begin(&plan, &seen, "2"), Readiness::Ready);
        let missing = vec!["2<1".to_owned()];
        assert_eq!(readiness(&plan, &seen, "2"), Readiness::NotYet { missing });
    }

    #[test]
    fn what_failed_in_an_earlier_run_ends_a_restart_when_the_execution_is_looked_at_next() {
        let plan = plan(json!([
            {"refId": "1"}, {"refId": "2"}, {"refId": "3", "after": ["2"]}, {"refId": "4", "after": ["3"]},
            {"refId": "5", "after": ["1", "3"]},
        ]));
        let mut seen = records(&[("1", Canceled, 0, 4), ("2", Succeeded, 10, 12)]);
        // It has a dependant that starts.
        assert_eq!(Rollup::new(&plan, &seen).halt("2"), None);
        seen.extend(records(&[("3", Succeeded, 12, 14)]));
        let rollup = Rollup::new(&plan, &seen);
        // The dependant that never starts is called now, and looks.
        assert_eq!(rollup.halt("3"), None);
        assert_eq!(rollup.halt_at("5", 1), Some(Canceled));
        assert_eq!(rollup.halt_at("5", 2), None, "nothing of that run ended");
        seen.extend(records(&[("4", Succeeded, 14, 15)]));
        // Nobody depends on it.
        assert_eq!(Rollup::new(&plan, &seen).halt("4"), Some(Canceled));
    }

    #[test]
    fn an_execution_succeeds_when_a_branch_stopped_unless_it_fails_at_the_end() {
        for (later, status) in [(false, Succeeded), (true, Terminal)] {
            let context = json!({"failPipeline": false, "completeOtherBranchesThenFail": later});
            let plan = plan(json!([
                {"refId": "1", "context": context}, {"refId": "2", "after": ["1"]}, {"refId": "3"},
            ]));
            let mut seen = records(&[("1", Stopped, 0, 4), ("3", Running, 0, 0)]);
            assert_eq!(execution_status(&plan, &seen), Running);
            seen.extend(records(&[("3", Succeeded, 0, 9)]));
            assert_eq!(execution_status(&plan, &seen), status);
        }
    }
}
