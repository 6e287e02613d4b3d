//! `gennaker execution explain`: what an execution waits for, who can act, what is left in the account, and what a
//! person has to do. A pure function of what is stored.

use std::collections::BTreeSet;

use gennaker_domain::{Intent, Status};
use serde::Serialize;
use serde_json::Value;

use crate::output::{bare, elapsed, plain};
use crate::view::{Snapshot, StageView};

/// An ending that is not settled after so long is the sweep's, and then a person's.
const SETTLES_WITHIN_MILLIS: i64 = 15 * 60_000;
/// How the result of an intent begins that nobody could undo.
const NOT_UNDONE: &str = "not undone";

/// Everything that is to say about an execution as it stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    execution: String,
    pipeline: String,
    status: Status,
    paused: bool,
    queued: bool,
    ending: Option<Value>,
    /// Stages that wait.
    waiting: Vec<Waiting>,
    /// Stages that failed, and why.
    failed: Vec<Failed>,
    /// Changes that are in the account, or perhaps are, and that no completed stage stands for.
    left: Vec<Change>,
    /// Changes that were taken back.
    undone: Vec<Change>,
    /// Server groups that it made and that nothing took away.
    server_groups: Vec<Place>,
    /// Server groups whose minimum it holds.
    pinned: Vec<Pinned>,
    /// Clusters that no other execution may change meanwhile, as `account/region/cluster`.
    locks: Vec<String>,
    /// What a person has to do, the most urgent first.
    todo: Vec<String>,
}

/// A stage that waits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    stage: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    waiting_for: String,
    since: Option<i64>,
    /// In words.
    can_act: String,
    /// Roles that a judgment asks for; none are everybody's.
    roles: Vec<String>,
    commands: Vec<String>,
}

/// A stage that failed.
#[derive(Debug, Serialize)]
struct Failed {
    stage: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    status: Status,
    reason: String,
}

/// A change that an intent stands for.
#[derive(Debug, Serialize)]
struct Change {
    stage: String,
    action: String,
    at: i64,
    done: bool,
    undone: bool,
    undo: Value,
    result: Option<String>,
    /// In words.
    state: String,
}

/// A server group.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    account: String,
    region: String,
    server_group: String,
}

/// A server group whose minimum is held.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pinned {
    #[serde(flatten)]
    place: Place,
    stage: String,
    /// Its minimum before, and what it is held at.
    before: Option<i64>,
    minimum: Option<i64>,
}

fn text(undo: &Value, key: &str) -> String {
    undo.get(key).map(bare).unwrap_or_default()
}

fn place(intent: &Intent) -> Place {
    Place {
        account: text(&intent.undo, "account"),
        region: text(&intent.undo, "region"),
        server_group: text(&intent.undo, "serverGroup"),
    }
}

/// Whether the intent stands for a new server group.
fn creates(intent: &Intent) -> bool {
    // What a stage does in its own name is recorded behind it: `2 create-server-group us-east-1 …`.
    intent
        .action
        .split([' ', '/', '#'])
        .any(|word| matches!(word, "create-server-group" | "clone-server-group"))
}

fn minimum(intent: &Intent, of: &str) -> Option<i64> {
    intent.undo.get(of)?.get("min")?.as_i64()
}

/// Whether the change is still in effect, or perhaps is, on nobody's account but this execution's.
fn is_left(intent: &Intent) -> bool {
    match &intent.result {
        Some(result) => result.starts_with(NOT_UNDONE),
        None => !intent.closed,
    }
}

fn change(intent: &Intent) -> Change {
    let state = match (&intent.result, intent.closed, intent.done) {
        (Some(result), _, _) => result.clone(),
        (None, true, _) => "part of a completed stage".to_owned(),
        (None, false, true) => "in effect".to_owned(),
        (None, false, false) => "announced, perhaps in effect".to_owned(),
    };
    Change {
        stage: intent.stage.clone(),
        action: intent.action.clone(),
        at: intent.at,
        done: intent.done,
        undone: intent.closed && !is_left(intent),
        undo: intent.undo.clone(),
        result: intent.result.clone(),
        state,
    }
}

/// Explains an execution that has these intents, and these locks.
pub(crate) fn explanation(
    snapshot: &Snapshot,
    intents: &[Intent],
    locks: Vec<String>,
    now: i64,
) -> Explanation {
    let execution = &snapshot.execution;
    let stages = snapshot.stages();
    let waiting = if snapshot.is_over() {
        Vec::new()
    } else {
        waiting(snapshot, &stages)
    };
    let failed = stages
        .iter()
        .filter(|stage| stage.status.is_halt() || stage.status == Status::FailedContinue)
        .filter_map(|stage| {
            Some(Failed {
                stage: stage.ref_id.clone(),
                kind: stage.kind.clone(),
                name: stage.name.clone(),
                status: stage.status,
                reason: stage.reason.clone()?,
            })
        })
        .collect();
    let was_taken_back =
        |intent: &&Intent| intent.closed && intent.result.is_some() && !is_left(intent);
    let kept = |intent: &Intent| {
        let kept = |result: &String| result.starts_with("kept:");
        intent.result.as_ref().is_some_and(kept)
    };
    let made: BTreeSet<Place> = intents
        .iter()
        .filter(|intent| {
            creates(intent) && (is_left(intent) || !was_taken_back(intent) || kept(intent))
        })
        .map(place)
        .collect();
    let pinned = intents
        .iter()
        .filter(|intent| intent.action.contains("pin-server-group") && is_left(intent))
        .filter(|intent| minimum(intent, "before") != minimum(intent, "target"))
        .map(|intent| Pinned {
            place: place(intent),
            stage: intent.stage.clone(),
            before: minimum(intent, "before"),
            minimum: minimum(intent, "target"),
        })
        .collect();
    let mut explained = Explanation {
        execution: execution.id.to_string(),
        pipeline: format!("{}/{}", execution.application, execution.pipeline),
        status: execution.status,
        paused: execution.paused,
        queued: execution.run == 0 && !snapshot.is_over(),
        ending: execution
            .ending
            .as_ref()
            .and_then(|ending| serde_json::to_value(ending).ok()),
        waiting,
        failed,
        left: intents
            .iter()
            .filter(|one| is_left(one))
            .map(change)
            .collect(),
        undone: intents
            .iter()
            .filter(was_taken_back)
            .filter(|intent| !kept(intent))
            .map(change)
            .collect(),
        server_groups: made.into_iter().collect(),
        pinned,
        locks,
        todo: Vec::new(),
    };
    explained.todo = todo(snapshot, &explained, now);
    explained
}

/// The stages at work, with those who can act on them. Who waits for its sub-stages is not one of them.
fn waiting(snapshot: &Snapshot, stages: &[StageView]) -> Vec<Waiting> {
    stages
        .iter()
        .filter(|stage| matches!(stage.status, Status::Running | Status::Paused))
        .filter_map(|stage| {
            let plan = snapshot.plan.stage(&stage.ref_id)?;
            let function = plan.function.as_deref()?;
            let record = snapshot.records.get(&stage.ref_id)?;
            // Its own task is over: what is after it runs.
            if record.status.is_complete() {
                return None;
            }
            let (can_act, roles, commands) = who_can_act(snapshot, &stage.ref_id, function);
            Some(Waiting {
                stage: stage.ref_id.clone(),
                kind: stage.kind.clone(),
                name: stage.name.clone(),
                waiting_for: stage
                    .reason
                    .clone()
                    .unwrap_or_else(|| "its function, which is at work".to_owned()),
                since: record.start_time.or(stage.started),
                can_act,
                roles,
                commands,
            })
        })
        .collect()
}

/// In words, by role, and by which command.
fn who_can_act(
    snapshot: &Snapshot,
    ref_id: &str,
    function: &str,
) -> (String, Vec<String>, Vec<String>) {
    let execution = &snapshot.execution;
    let id = &execution.id;
    let empty = serde_json::Map::new();
    let context = snapshot
        .records
        .get(ref_id)
        .map(|record| &record.context)
        .filter(|context| !context.is_empty())
        .or_else(|| snapshot.plan.stage(ref_id).map(|stage| &stage.context))
        .unwrap_or(&empty);
    let skippable = context.get("skippable") == Some(&Value::Bool(true));
    let skip = format!("gennaker execution skip {id} --stage {ref_id}");
    let cancel = format!("gennaker execution cancel {id}");
    if execution.ending.is_some() {
        return (
            "nobody needs to: it is being ended, and what it began is undone".to_owned(),
            Vec::new(),
            vec![format!("gennaker execution watch {id}")],
        );
    }
    if execution.paused {
        return (
            "whoever may operate it resumes it".to_owned(),
            Vec::new(),
            vec![format!("gennaker execution resume {id}"), cancel],
        );
    }
    match function {
        "manual-judgment" => {
            let roles: Vec<String> = context
                .get("selectedStageRoles")
                .and_then(Value::as_array)
                .map(|roles| roles.iter().map(bare).collect())
                .unwrap_or_default();
            let whom = if roles.is_empty() {
                "an approver".to_owned()
            } else {
                format!("an approver with one of the roles {}", roles.join(", "))
            };
            let judge =
                |answer: &str| format!("gennaker execution judge {id} --stage {ref_id} {answer}");
            (whom, roles, vec![judge("continue"), judge("stop"), cancel])
        }
        "wait" | "wait-until" | "restrict-execution-during-time-window" => (
            "whoever may operate it ends the wait".to_owned(),
            Vec::new(),
            vec![skip, cancel],
        ),
        "pipeline" | "monitor-pipeline" | "run-multiple-pipelines" => {
            let child = context.get("executionId").map(bare).or_else(|| {
                let record = snapshot.records.get(ref_id)?;
                record.memory.get("executionId").map(bare)
            });
            let mut commands: Vec<String> = child
                .map(|child| format!("gennaker execution explain {child}"))
                .into_iter()
                .collect();
            if skippable {
                commands.push(skip);
            }
            commands.push(cancel);
            let whom = "nobody needs to: the execution that it waits for ends it".to_owned();
            (whom, Vec::new(), commands)
        }
        _ => ("nobody needs to".to_owned(), Vec::new(), vec![cancel]),
    }
}

fn todo(snapshot: &Snapshot, explained: &Explanation, now: i64) -> Vec<String> {
    let execution = &snapshot.execution;
    let id = &execution.id;
    let mut todo = Vec::new();
    if snapshot.is_over() {
        for pin in &explained.pinned {
            let before = pin.before.unwrap_or(0);
            todo.push(format!(
                "give `{group}` its minimum of {before} back: aws autoscaling update-auto-scaling-group --region {region} --auto-scaling-group-name {group} --min-size {before}",
                group = pin.place.server_group,
                region = pin.place.region,
            ));
        }
        for left in explained
            .left
            .iter()
            .filter(|left| !left.action.contains("pin-server-group"))
        {
            todo.push(format!(
                "stage {}: look after `{}`, which is {}",
                left.stage, left.action, left.state
            ));
        }
        if execution.status != Status::Succeeded {
            let top = explained
                .failed
                .first()
                .map(|failed| failed.stage.split(['<', '>']).next().unwrap_or_default());
            let again = match top {
                Some(stage) => format!("gennaker execution restart {id} --stage {stage}"),
                None => format!("gennaker execution start {}", explained.pipeline),
            };
            todo.push(format!("to try again: {again}"));
        }
        return todo;
    }
    match &execution.ending {
        Some(ending) if now - ending.at > SETTLES_WITHIN_MILLIS => todo.push(format!(
            "it has been ending for {}: look at the execution of the machine `finalize` named {}-end; the sweep starts it again",
            elapsed(now - ending.at),
            id.run(execution.run)
        )),
        Some(_) => {}
        None => {
            let asked = explained.waiting.iter().filter(|one| one.kind == "manualJudgment");
            todo.extend(asked.map(|one| {
                let commands: Vec<&str> =
                    one.commands.iter().take(2).map(String::as_str).collect();
                format!("answer the judgment `{}`: {}", one.name, commands.join(" | "))
            }));
            if execution.paused {
                todo.push(format!("resume it: gennaker execution resume {id}"));
            }
        }
    }
    todo
}

impl Explanation {
    /// For a person, a line each.
    pub(crate) fn lines(&self, now: i64) -> Vec<String> {
        let paused = if self.paused { " (paused)" } else { "" };
        let mut lines = vec![format!(
            "{} {} is {}{paused}",
            self.execution,
            plain(&self.pipeline),
            self.status
        )];
        if self.queued {
            lines.push("queued: it starts when another execution of the pipeline ends".to_owned());
        }
        if let Some(ending) = &self.ending {
            let at = ending.get("at").and_then(Value::as_i64).unwrap_or(now);
            let verb = if self.status.is_complete() {
                "ended"
            } else {
                "is being ended: what it began is undone;"
            };
            lines.push(format!(
                "{verb} {} by {}, {} ago: {}",
                text(ending, "status"),
                plain(&text(ending, "by")),
                elapsed(now - at),
                plain(&text(ending, "reason"))
            ));
        }
        for stage in &self.waiting {
            lines.push(format!(
                "stage {} ({}) waits since {}: {}",
                stage.stage,
                plain(&stage.name),
                elapsed(now - stage.since.unwrap_or(now)),
                plain(&stage.waiting_for)
            ));
            lines.push(format!("  who can act: {}", plain(&stage.can_act)));
            lines.extend(stage.commands.iter().map(|one| format!("    {one}")));
        }
        for failed in &self.failed {
            lines.push(format!(
                "stage {} ({}) is {}: {}",
                failed.stage,
                plain(&failed.name),
                failed.status,
                plain(&failed.reason)
            ));
        }
        let named = |title: &str, all: Vec<String>| {
            let title = (!all.is_empty()).then(|| title.to_owned());
            title.into_iter().chain(all)
        };
        lines.extend(named(
            "changed in the account and not part of a completed stage:",
            self.left.iter().map(Change::line).collect(),
        ));
        lines.extend(named(
            "undone:",
            self.undone.iter().map(Change::line).collect(),
        ));
        lines.extend(named(
            "server groups that it made:",
            self.server_groups
                .iter()
                .map(|group| format!("  {}", group.line()))
                .collect(),
        ));
        lines.extend(named(
            "minima that it holds:",
            self.pinned
                .iter()
                .map(|pin| {
                    format!(
                        "  {}: {} instead of {}",
                        pin.place.line(),
                        pin.minimum.unwrap_or(0),
                        pin.before.unwrap_or(0)
                    )
                })
                .collect(),
        ));
        lines.extend(named(
            "clusters that no other execution may change meanwhile:",
            self.locks
                .iter()
                .map(|lock| format!("  {}", plain(lock)))
                .collect(),
        ));
        if self.left.is_empty() && self.status.is_complete() {
            lines.push("nothing is left in the account but what completed stages made".to_owned());
        }
        lines.extend(named(
            "to do:",
            self.todo
                .iter()
                .map(|one| format!("  {}", plain(one)))
                .collect(),
        ));
        lines
    }
}

impl Change {
    fn line(&self) -> String {
        let (action, state) = (plain(&self.action), plain(&self.state));
        format!("  stage {}: {action}: {state}", self.stage)
    }
}

impl Place {
    fn line(&self) -> String {
        format!(
            "{} ({}, {})",
            plain(&self.server_group),
            plain(&self.account),
            plain(&self.region)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gennaker_domain::rollup::Records;
    use gennaker_domain::{Ending, Execution, Failure, Plan, StageRecord};
    use serde_json::json;

    use super::*;

    fn intent(action: &str, closed: bool, result: Option<&str>) -> Intent {
        Intent {
            stage: "1<1".to_owned(),
            action: format!("{action} us-east-1 shop-v001"),
            function: action.to_owned(),
            undo: json!({ "account": "prod", "region": "us-east-1", "serverGroup": "shop-v001",
                "before": { "min": 1, "desired": 3, "max": 6 }, "target": { "min": 3, "desired": 3, "max": 6 } }),
            at: 1_000,
            run: 1,
            done: true,
            closed,
            result: result.map(str::to_owned),
        }
    }

    fn snapshot(status: Status, function: &str, record: StageRecord) -> Snapshot {
        let plan: Plan = serde_json::from_value(json!({
            "schema": 1, "application": "shop", "pipeline": "release", "pipelineId": "p", "spelEvaluator": "v4",
            "stages": [
                {"refId": "1", "type": "deploy", "name": "Deploy", "context": {}},
                {"refId": "1<1", "type": "x", "name": "Step", "parent": "1", "owner": "STAGE_BEFORE",
                 "function": function, "context": {}},
            ]
        }))
        .unwrap();
        let execution: Execution = serde_json::from_value(json!({
            "id": "01JCZ3M6Q0V0GZ5T5W1M7H2K3B", "application": "shop", "pipeline": "release", "pipelineId": "p",
            "revision": 1, "planHash": "h", "stateMachine": "m", "status": status, "run": 1, "buildTime": 1000
        }))
        .unwrap();
        Snapshot {
            execution,
            plan: Arc::new(plan),
            records: Records::from([("1<1".to_owned(), record)]),
        }
    }

    fn running(reason: &str) -> StageRecord {
        let mut record = StageRecord::not_started("1<1");
        record.status = Status::Running;
        record.start_time = Some(2_000);
        record.waiting = Some(reason.to_owned());
        record
    }

    #[test]
    fn a_judgment_names_its_roles_and_both_answers() {
        let mut record = running("a person");
        record.context = json!({ "selectedStageRoles": ["release"] })
            .as_object()
            .unwrap()
            .clone();
        let snapshot = snapshot(Status::Running, "manual-judgment", record);
        let explained = explanation(
            &snapshot,
            &[],
            vec!["prod/us-east-1/shop".to_owned()],
            62_000,
        );
        let waiting = &explained.waiting[0];
        assert_eq!(waiting.roles, ["release"]);
        assert!(
            waiting.commands[0].ends_with("--stage 1<1 continue"),
            "{waiting:?}"
        );
        let lines = explained.lines(62_000).join("\n");
        assert!(lines.contains("waits since 1 min 00 s"), "{lines}");
        assert!(lines.contains("roles release"), "{lines}");
        assert!(lines.contains("  prod/us-east-1/shop"), "{lines}");
    }

    #[test]
    fn what_is_left_is_what_nobody_undid_and_no_completed_stage_stands_for() {
        let mut snapshot = snapshot(Status::Canceled, "resize-server-group", running(""));
        snapshot.execution.ending = Some(Ending {
            status: Status::Canceled,
            reason: "wrong image".to_owned(),
            by: "jane".to_owned(),
            at: 3_000,
        });
        let intents = [
            intent("resize-server-group", true, None),
            intent("disable-server-group", true, Some("it takes traffic again")),
            intent("pin-server-group", true, Some("not undone: AccessDenied")),
            intent(
                "create-server-group",
                true,
                Some("not undone: tried 10 times"),
            ),
        ];
        let explained = explanation(&snapshot, &intents, Vec::new(), 4_000);
        let left: Vec<&str> = explained
            .left
            .iter()
            .map(|one| one.action.as_str())
            .collect();
        assert_eq!(
            left,
            [
                "pin-server-group us-east-1 shop-v001",
                "create-server-group us-east-1 shop-v001"
            ]
        );
        assert_eq!(explained.undone.len(), 1);
        assert_eq!(explained.server_groups[0].server_group, "shop-v001");
        assert_eq!(explained.pinned[0].before, Some(1));
        assert!(explained.waiting.is_empty(), "nothing waits after the end");
        assert!(
            explained.todo[0].ends_with("--min-size 1"),
            "{:?}",
            explained.todo
        );
        assert!(
            explained.todo[1].contains("tried 10 times"),
            "{:?}",
            explained.todo
        );
    }

    #[test]
    fn a_failed_stage_says_why_and_how_to_try_again() {
        let mut record = running("");
        record.status = Status::Terminal;
        record.failure = Some(Failure {
            reason: "0 of 2 healthy".to_owned(),
            details: Value::Null,
        });
        let snapshot = snapshot(Status::Terminal, "create-server-group", record);
        let gone = intent("create-server-group", true, Some("server group is gone"));
        let explained = explanation(&snapshot, &[gone], Vec::new(), 4_000);
        assert_eq!(explained.failed[0].reason, "0 of 2 healthy");
        assert!(explained.left.is_empty() && explained.server_groups.is_empty());
        assert!(
            explained.todo[0].ends_with("--stage 1"),
            "{:?}",
            explained.todo
        );
        let lines = explained.lines(4_000).join("\n");
        assert!(lines.contains("nothing is left in the account"), "{lines}");
    }
}
