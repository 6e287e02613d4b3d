//! What has to hold for every definition, checked from the outside.

use std::collections::{HashMap, HashSet};

use gennaker_compiler::Compiled;
use gennaker_domain::Plan;
use serde_json::{Map, Value};

/// Checks a compiled pipeline; panics with what is wrong.
pub fn check(compiled: &Compiled) {
    let definition: Value = serde_json::from_str(&compiled.definition_text).expect("JSON");
    assert_eq!(*compiled.definition, definition);
    assert_eq!(definition["QueryLanguage"], "JSONata");
    assert!(compiled.definition_text.len() <= 1_000_000);
    assert_eq!(compiled.definition_text.len(), compiled.figures.bytes);
    let mut names = HashSet::new();
    let mut tasks: HashMap<String, usize> = HashMap::new();
    machine(&definition, &mut names, &mut tasks, &compiled.plan);
    assert_eq!(names.len() as u64, compiled.figures.states);
    for stage in &compiled.plan.stages {
        let expected = usize::from(stage.function.is_some());
        assert_eq!(
            tasks.remove(&stage.ref_id).unwrap_or(0),
            expected,
            "{}",
            stage.ref_id
        );
        let joins = usize::from(stage.joins);
        assert_eq!(
            tasks.remove(&format!("join {}", stage.ref_id)).unwrap_or(0),
            joins,
            "{}",
            stage.ref_id
        );
        for predecessor in &stage.starts_after {
            assert!(compiled.plan.stage(&predecessor.ref_id).is_some());
        }
        for join in &stage.opens {
            assert!(compiled.plan.stage(join).is_some_and(|stage| stage.joins));
        }
    }
    assert!(tasks.is_empty(), "tasks without a stage: {tasks:?}");
}

/// A machine or a branch: every target exists, every state is reached, every path ends.
fn machine(
    machine: &Value,
    names: &mut HashSet<String>,
    tasks: &mut HashMap<String, usize>,
    plan: &Plan,
) {
    let states: &Map<String, Value> = machine["States"].as_object().expect("states");
    let start = machine["StartAt"].as_str().expect("a start");
    let mut reached = HashSet::new();
    let mut open = vec![start];
    let mut ends = false;
    while let Some(name) = open.pop() {
        if !reached.insert(name) {
            continue;
        }
        let state = states
            .get(name)
            .unwrap_or_else(|| panic!("no state `{name}`"));
        for target in std::iter::once(&state["Next"]).chain(
            state["Catch"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|catch| &catch["Next"]),
        ) {
            open.extend(target.as_str());
        }
        let last = state["End"] == Value::Bool(true)
            || state["Type"] == "Succeed"
            || state["Type"] == "Fail";
        assert_ne!(
            last,
            state["Next"].is_string(),
            "`{name}` ends and goes on, or neither"
        );
        ends |= last;
    }
    assert!(ends);
    assert_eq!(reached.len(), states.len(), "states that are never reached");
    for (name, state) in states {
        assert!(names.insert(name.clone()), "two states `{name}`");
        assert!(!name.is_empty() && name.chars().count() <= 80, "{name}");
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
            "{name}"
        );
        match state["Type"].as_str().expect("a type") {
            "Task" => task(state, tasks, plan),
            "Parallel" => {
                let branches = state["Branches"].as_array().expect("branches");
                assert!(branches.len() > 1);
                for branch in branches {
                    self::machine(branch, names, tasks, plan);
                }
            }
            "Succeed" | "Fail" => {}
            other => panic!("unexpected type {other}"),
        }
    }
}

fn task(state: &Value, tasks: &mut HashMap<String, usize>, plan: &Plan) {
    let arguments = state["Arguments"].as_object().expect("arguments");
    assert_eq!(arguments.len(), 2);
    let function = arguments["FunctionName"].as_str().expect("a function");
    assert!(
        function.starts_with("gennaker-") && function.ends_with(":live"),
        "{function}"
    );
    let payload = arguments["Payload"].as_object().expect("a payload");
    let woken = payload.contains_key("token");
    assert_eq!(payload.len(), if woken { 3 } else { 2 });
    assert_eq!(payload["run"], "{% $states.context.Execution.Name %}");
    let written = payload["stage"].as_str().expect("a stage");
    let ref_id = if written.contains("{%") || written.contains("%}") {
        // Code has to be one string literal, without anything that could end it.
        let code = written
            .strip_prefix("{% ")
            .and_then(|text| text.strip_suffix(" %}"))
            .expect("code");
        let inner = code
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .expect("a literal");
        assert!(
            inner
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'\\'),
            "{inner}"
        );
        serde_json::from_str::<String>(code).expect("a literal")
    } else {
        written.to_owned()
    };
    let resource = "arn:aws:states:::lambda:invoke";
    let expected = if woken {
        format!("{resource}.waitForTaskToken")
    } else {
        resource.to_owned()
    };
    assert_eq!(state["Resource"], expected.as_str());
    assert_eq!(state["TimeoutSeconds"].is_u64(), woken);
    assert_eq!(state["Output"], serde_json::json!({}));
    let is_join = function == "gennaker-join:live";
    let stage = plan.stage(&ref_id).expect("a stage of the plan");
    if is_join {
        *tasks.entry(format!("join {ref_id}")).or_default() += 1;
    } else {
        assert_eq!(stage.woken, woken);
        assert_eq!(
            Some(function),
            stage
                .function
                .as_ref()
                .map(|own| format!("gennaker-{own}:live"))
                .as_deref()
        );
        *tasks.entry(ref_id).or_default() += 1;
    }
    let retriers = state["Retry"].as_array().expect("retriers");
    assert_eq!(
        retriers.last().expect("one")["ErrorEquals"],
        serde_json::json!(["States.ALL"])
    );
}
