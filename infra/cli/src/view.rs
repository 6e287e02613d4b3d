//! What is shown of an execution: one line per stage, and what changed since the last look.

use std::collections::HashMap;
use std::sync::Arc;

use gennaker_domain::execution_json::execution_json;
use gennaker_domain::rollup::{Records, Rollup};
use gennaker_domain::{Execution, Owner, Plan, PlanStage, StageRecord, Status};

use serde_json::Value;

use crate::output::{Output, elapsed, plain};

/// An execution as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Its record.
    pub execution: Execution,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// The records of its stages.
    pub records: Records,
}

/// What is shown of one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StageView {
    pub ref_id: String,
    pub kind: String,
    pub name: String,
    pub depth: usize,
    pub status: Status,
    pub started: Option<i64>,
    pub ended: Option<i64>,
    /// Why it waits, failed or was skipped.
    pub reason: Option<String>,
}

impl Snapshot {
    /// Whether the execution is settled.
    pub(crate) fn is_over(&self) -> bool {
        self.execution.status.is_complete()
    }

    /// Spinnaker's JSON of it.
    pub(crate) fn json(&self, trigger: &Value) -> Value {
        execution_json(&self.plan, &self.execution, &self.records, trigger)
    }

    /// All stages, each followed by its sub-stages, in the order of the plan.
    pub(crate) fn stages(&self) -> Vec<StageView> {
        let mut views = Vec::new();
        let rollup = Rollup::new(&self.plan, &self.records);
        for stage in self
            .plan
            .stages
            .iter()
            .filter(|stage| stage.parent.is_none())
        {
            self.push(&rollup, stage, 0, &mut views);
        }
        views
    }

    fn push(
        &self,
        rollup: &Rollup<'_>,
        stage: &PlanStage,
        depth: usize,
        views: &mut Vec<StageView>,
    ) {
        // A plan that names itself as a parent would never end.
        if depth > self.plan.stages.len() {
            return;
        }
        let mut status = rollup.status(&stage.ref_id);
        if status == Status::Running && self.execution.status == Status::Paused {
            status = Status::Paused;
        }
        let (started, ended) = rollup.times(&stage.ref_id);
        views.push(StageView {
            ref_id: stage.ref_id.clone(),
            kind: stage.stage_type.clone(),
            name: stage.name.clone(),
            depth,
            status,
            started,
            ended,
            reason: self.records.get(&stage.ref_id).and_then(reason),
        });
        let mut children: Vec<&PlanStage> = self.plan.children(&stage.ref_id).collect();
        children.sort_by_key(|child| match child.owner {
            Some(Owner::Before) => 0,
            Some(Owner::OnFailure) => 2,
            _ => 1,
        });
        for child in children {
            self.push(rollup, child, depth + 1, views);
        }
    }
}

fn reason(record: &StageRecord) -> Option<String> {
    match &record.failure {
        Some(failure) => Some(failure.reason.clone()),
        None if record.status.is_complete() => None,
        None => record.waiting.clone(),
    }
}

impl StageView {
    /// One line, as wide as `width` columns.
    pub(crate) fn line(&self, now: i64, output: &Output, width: usize) -> String {
        let mark = match self.status {
            Status::Succeeded => "✔",
            Status::Terminal | Status::Canceled => "✘",
            Status::FailedContinue | Status::Stopped => "!",
            Status::Running => "▶",
            Status::Paused => "‖",
            Status::Skipped => "↷",
            _ => "·",
        };
        let time = match (self.started, self.ended) {
            (Some(started), Some(ended)) => elapsed(ended - started),
            (Some(started), None) if self.status == Status::Running => elapsed(now - started),
            _ => String::new(),
        };
        let name = format!(
            "{}{} {}",
            "  ".repeat(self.depth),
            self.ref_id,
            plain(&self.name)
        );
        let reason = self.reason.as_deref().map(plain).unwrap_or_default();
        let status = self.status.as_str();
        let fixed = format!("{name:<44} {status:<15} {time:>12}  {reason}");
        let cut: String = fixed.chars().take(width.saturating_sub(2)).collect();
        // Painted after cutting: an escape sequence has no width.
        let painted = cut.replacen(status, &output.status(self.status), 1);
        format!(
            "{} {}",
            output.paint(mark, crate::output::color_of(self.status)),
            painted.trim_end()
        )
    }
}

/// Remembers what was shown.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    stages: HashMap<String, (Status, Option<String>)>,
}

impl Seen {
    /// The stages whose status or reason is not what it was at the last call.
    pub(crate) fn changes(&mut self, stages: &[StageView]) -> Vec<StageView> {
        let mut changed = Vec::new();
        for stage in stages {
            let now = (stage.status, stage.reason.clone());
            let before = self.stages.get(&stage.ref_id);
            let unseen = before.is_none() && stage.status == Status::NotStarted;
            if before != Some(&now) && !unseen {
                changed.push(stage.clone());
                self.stages.insert(stage.ref_id.clone(), now);
            }
        }
        changed
    }
}

/// Lines on a terminal that are replaced by the next ones.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    shown: usize,
}

impl Screen {
    /// Replaces what was drawn last.
    pub(crate) fn draw(&mut self, lines: &[String], output: &Output) {
        let mut text = String::new();
        if self.shown > 0 {
            // Up to the first line that was drawn, then clear to the end of the screen.
            text.push_str(&format!("\u{1b}[{}A\r\u{1b}[J", self.shown));
        }
        text.push_str(&lines.join("\n"));
        output.say(&text);
        self.shown = lines.len();
    }

    /// What was drawn stays; the next draw begins below it.
    pub(crate) fn keep(&mut self) {
        self.shown = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot() -> Snapshot {
        let plan: Plan = serde_json::from_value(json!({
            "schema": 1, "application": "shop", "pipeline": "release", "pipelineId": "p", "spelEvaluator": "v4",
            "stages": [
                {"refId": "1", "type": "deploy", "name": "Deploy", "context": {}},
                {"refId": "1<1", "type": "createServerGroup", "name": "Create", "parent": "1", "owner": "STAGE_BEFORE",
                 "function": "create-server-group", "context": {}},
                {"refId": "2", "type": "wait", "name": "Wait", "requisites": ["1"], "function": "wait",
                 "startsAfter": [{"refId": "1", "whole": true}], "context": {}}
            ]
        }))
        .unwrap();
        let execution: Execution = serde_json::from_value(json!({
            "id": "01JCZ3M6Q0V0GZ5T5W1M7H2K3B", "application": "shop", "pipeline": "release", "pipelineId": "p",
            "revision": 1, "planHash": "h", "stateMachine": "m", "status": "RUNNING", "run": 1, "buildTime": 1000
        }))
        .unwrap();
        let mut record = StageRecord::not_started("1<1");
        record.status = Status::Running;
        record.start_time = Some(2_000);
        record.waiting = Some("2 of 3 instances healthy".to_owned());
        Snapshot {
            execution,
            plan: Arc::new(plan),
            records: Records::from([("1<1".to_owned(), record)]),
        }
    }

    #[test]
    fn a_sub_stage_stands_below_its_stage_and_tells_why_it_waits() {
        let stages = snapshot().stages();
        let seen: Vec<_> = stages
            .iter()
            .map(|s| (s.ref_id.as_str(), s.depth, s.status))
            .collect();
        assert_eq!(
            seen,
            [
                ("1", 0, Status::Running),
                ("1<1", 1, Status::Running),
                ("2", 0, Status::NotStarted)
            ]
        );
        assert_eq!(stages[0].started, Some(2_000));
        assert_eq!(
            stages[1].reason.as_deref(),
            Some("2 of 3 instances healthy")
        );
    }

    #[test]
    fn only_what_changed_is_told_again() {
        let mut snapshot = snapshot();
        let mut seen = Seen::default();
        assert_eq!(seen.changes(&snapshot.stages()).len(), 2);
        assert_eq!(seen.changes(&snapshot.stages()), []);
        snapshot.records.get_mut("1<1").unwrap().waiting =
            Some("3 of 3 instances healthy".to_owned());
        let changed = seen.changes(&snapshot.stages());
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].ref_id, "1<1");
    }

    #[test]
    fn a_line_is_never_wider_than_the_terminal() {
        let output = Output {
            json: false,
            color: false,
            terminal: true,
            interactive: false,
        };
        for stage in snapshot().stages() {
            assert!(stage.line(5_000, &output, 60).chars().count() <= 60);
        }
    }
}
