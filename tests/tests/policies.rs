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

/// Services whose actions are compared.
const SERVICES: [&str; 9] = [
    "autoscaling",
    "cloudwatch",
    "codebuild",
    "ec2",
    "ecr",
    "elasticloadbalancing",
    "iam",
    "scheduler",
    "sns",
];

/// Calls that a function's code has and never makes, each with the reason: its policy goes without.
const NEVER: [(&str, &str, &str); 2] = [
    (
        "rollback-server-group",
        "elasticloadbalancing:DeregisterTargets",
        "a rollback takes whole groups out of traffic, never a share of one",
    ),
    (
        "rollback-cluster",
        "elasticloadbalancing:DeregisterTargets",
        "a rollback takes whole groups out of traffic, never a share of one",
    ),
];

fn is_compared(action: &str) -> bool {
    let service = action.split(':').next().unwrap_or_default();
    SERVICES.contains(&service)
}

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
    sources
        .of_function(function)
        .iter()
        .flat_map(|call| call.actions)
        .map(|action| (*action).to_owned())
        .filter(|action| is_compared(action))
        .collect()
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

/// The actions that the policies of a function name in the template: its own ones and those that it shares.
fn granted(template: &str, function: &str) -> BTreeSet<String> {
    let logical: String = function
        .split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect();
    let mut body = resource(template, &format!("{logical}Function")).to_owned();
    if body.contains("!Ref GuardPolicy") {
        body.push_str(resource(template, "GuardPolicy"));
    }
    body.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'))
        .map(|word| word.trim_end_matches(':').to_owned())
        // A condition's key is no action.
        .filter(|word| {
            word.split_once(':').is_some_and(|(_, name)| {
                name.starts_with(|c: char| c.is_ascii_uppercase()) && name != "PassedToService"
            })
        })
        .filter(|action| is_compared(action))
        .collect()
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
    let mut problems = Vec::new();
    for function in functions() {
        let mut needed = needed(&sources, &function);
        for (of, action, reason) in NEVER {
            if of == function && !needed.remove(action) {
                problems.push(format!("{of} cannot call {action} any more: {reason}"));
            }
        }
        let granted = granted(&template, &function);
        // Who saves pipelines passes a role to Step Functions: that is of another port, and compared with it.
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
                of.extend(
                    calls[from..]
                        .iter()
                        .filter(|call| is_compared(call))
                        .cloned(),
                );
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
    let mut problems = Vec::new();
    for (function, called) in recorded().await {
        let needed = needed(&sources, &function);
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
