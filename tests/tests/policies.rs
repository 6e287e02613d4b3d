//! A function's policy in the template is what its code can call, no less and no more.
//!
//! Each method of a port carries the IAM actions that it needs; which methods a function can reach is read from the
//! sources. What functions really call when every stage and strategy runs, is interrupted and undone, is among that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod stages;

use std::collections::{BTreeMap, BTreeSet};

use gennaker_tests::reach::Sources;
use stages::scenarios::{CALLS, Ground, scenarios};

/// Calls that a function's code has and never makes, each with the reason: its policy goes without.
const NEVER: [(&str, &str, &str); 4] = [
    (
        "rollback-server-group",
        "elasticloadbalancing:DeregisterTargets",
        WHOLE_GROUPS,
    ),
    (
        "rollback-cluster",
        "elasticloadbalancing:DeregisterTargets",
        WHOLE_GROUPS,
    ),
    (
        "rollback-server-group",
        "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
        WHOLE_GROUPS,
    ),
    (
        "rollback-cluster",
        "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
        WHOLE_GROUPS,
    ),
];
const WHOLE_GROUPS: &str = "a rollback takes whole groups out of traffic, never a share of one";

/// What a function is granted that AWS uses in its name, not its code.
const FOR_AWS: [(&str, &str, &str); 3] = [
    ("trigger", "sqs:DeleteMessage", QUEUE),
    ("trigger", "sqs:GetQueueAttributes", QUEUE),
    ("trigger", "sqs:ReceiveMessage", QUEUE),
];
const QUEUE: &str = "Lambda reads the queue of messages with the function's role";

/// Policies that functions share.
const POLICIES: [&str; 4] = [
    "StageRuntimePolicy",
    "TokenPolicy",
    "AccountPolicy",
    "GuardPolicy",
];

fn functions() -> Vec<String> {
    let directory = gennaker_tests::workspace().join("functions");
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The actions that a function needs for what it can call.
fn needed(sources: &Sources, function: &str) -> BTreeSet<String> {
    sources.of_function(function).actions()
}

/// A resource of the template, to the next one.
fn resource<'a>(template: &'a str, logical: &str) -> &'a str {
    let from = template
        .find(&format!("\n  {logical}:\n"))
        .unwrap_or_else(|| panic!("{logical} is not in the template"));
    let body = &template[from + 1..];
    let end = body.match_indices("\n  ").map(|(at, _)| at).find(|at| {
        let next = body[at + 3..].chars().next();
        next.is_some_and(|c| c != ' ')
    });
    &body[..end.unwrap_or(body.len())]
}

/// The actions in a text: what stands after `Action:`, alone, in brackets or one to a line.
fn actions(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut listed = false;
    for line in text.lines().map(str::trim) {
        let named = match (line.strip_prefix("Action:"), line.strip_prefix("- ")) {
            (Some(rest), _) => {
                listed = rest.is_empty();
                rest
            }
            (None, Some(one)) if listed => one,
            _ => {
                listed = false;
                continue;
            }
        };
        let words = named.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'));
        found.extend(words.filter(|word| word.contains(':')).map(str::to_owned));
    }
    found
}

/// The function's resource in the template.
fn declared<'a>(template: &'a str, function: &str) -> &'a str {
    let logical: String = function
        .split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect();
    resource(template, &format!("{logical}Function"))
}

/// The actions that the policies of a function name in the template: its own ones and those that it shares.
fn granted(template: &str, function: &str) -> BTreeSet<String> {
    let body = declared(template, function);
    let mut granted = actions(body);
    for policy in POLICIES {
        if body.contains(&format!("!Ref {policy}")) {
            granted.extend(actions(resource(template, policy)));
        }
    }
    granted
}

fn template() -> String {
    std::fs::read_to_string(gennaker_tests::workspace().join("infra/template.yaml")).unwrap()
}

fn refuse(problems: &[String]) {
    assert!(
        problems.is_empty(),
        "{} problems\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn a_policy_in_the_template_grants_what_the_functions_code_can_call_and_nothing_else() {
    let (sources, template) = (Sources::read(), template());
    let runtime = sources.of_runtime().actions();
    let mut problems = Vec::new();
    for function in functions() {
        let mut needed = needed(&sources, &function);
        if declared(&template, &function).contains("!Ref StageRuntimePolicy") {
            needed.extend(runtime.iter().cloned());
        }
        for (of, action, reason) in NEVER {
            if of == function && !needed.remove(action) {
                problems.push(format!("{of} cannot call {action} any more: {reason}"));
            }
        }
        let mut granted = granted(&template, &function);
        for (of, action, reason) in FOR_AWS {
            if of == function && !granted.remove(action) {
                problems.push(format!("{of} is not granted {action}: {reason}"));
            }
        }
        problems.extend(
            needed
                .difference(&granted)
                .map(|action| format!("{function} can call {action}, and is not granted it")),
        );
        problems.extend(
            granted.difference(&needed).map(|action| {
                format!("{function} is granted {action}, and nothing in it calls it")
            }),
        );
    }
    refuse(&problems);
}

/// A transaction needs the actions of its writes, and a page on the internet none.
fn is_action(call: &str) -> bool {
    !["dynamodb:TransactWriteItems", "http:Send"].contains(&call)
}

/// What functions call in the clean runs of all scenarios, in those that end early and in their undos.
async fn recorded() -> BTreeMap<String, BTreeSet<String>> {
    let mut recorded = BTreeMap::<String, BTreeSet<String>>::new();
    for scenario in scenarios() {
        // Interrupted after so many calls of each stage: the undo meets every state in between.
        for most in [1, 2, 3, 5, CALLS] {
            let ground = Ground::of(&scenario).await;
            let mut note = |function: &str, from: usize| {
                let calls = ground.calls();
                let of = recorded.entry(function.to_owned()).or_default();
                let named = calls[from..].iter().filter(|call| is_action(call));
                of.extend(named.cloned());
            };
            ground.run_at_most(most, &mut note).await;
            ground.end().await;
            ground.undo(&mut note).await;
        }
    }
    recorded
}

#[tokio::test]
async fn what_functions_call_when_they_run_is_what_their_code_says() {
    let sources = Sources::read();
    let runtime = sources.of_runtime().actions();
    let mut problems = Vec::new();
    for (function, called) in recorded().await {
        let mut needed = needed(&sources, &function);
        needed.extend(runtime.iter().cloned());
        for action in called.difference(&needed) {
            problems.push(format!(
                "{function} called {action}, and its sources do not show how"
            ));
        }
        for (of, action, reason) in NEVER {
            if of == function && called.contains(action) {
                problems.push(format!("{of} called {action}: {reason}"));
            }
        }
    }
    refuse(&problems);
}
