//! Every method of every port carries the IAM actions that it needs, in its documentation and as data.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use gennaker_cloud::iam::Call;
use gennaker_cloud::{
    alarms, auto_scaling, classic_load_balancing, code_build, ec2, functions, instance_profile,
    instance_refresh, load_balancing, metrics, notification, quotas, registry, scheduler,
    step_functions, table,
};

const PORTS: [(&str, &str, &[Call]); 16] = [
    ("alarms", "Alarms", alarms::calls::ALL),
    ("auto_scaling", "AutoScaling", auto_scaling::calls::ALL),
    (
        "classic_load_balancing",
        "ClassicLoadBalancing",
        classic_load_balancing::calls::ALL,
    ),
    ("code_build", "CodeBuild", code_build::calls::ALL),
    ("ec2", "Ec2", ec2::calls::ALL),
    ("functions", "Functions", functions::calls::ALL),
    (
        "instance_profile",
        "InstanceProfiles",
        instance_profile::calls::ALL,
    ),
    (
        "instance_refresh",
        "InstanceRefreshes",
        instance_refresh::calls::ALL,
    ),
    (
        "load_balancing",
        "LoadBalancing",
        load_balancing::calls::ALL,
    ),
    ("metrics", "Metrics", metrics::calls::ALL),
    ("notification", "Notifications", notification::calls::ALL),
    ("quotas", "Quotas", quotas::calls::ALL),
    ("registry", "Registry", registry::calls::ALL),
    ("scheduler", "Scheduler", scheduler::calls::ALL),
    (
        "step_functions",
        "StepFunctions",
        step_functions::calls::ALL,
    ),
    ("table", "Table", table::calls::ALL),
];

/// The methods of a trait, each with its documentation.
fn methods(module: &str, port: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{module}.rs"));
    let source = std::fs::read_to_string(path).unwrap();
    let from = source.find(&format!("pub trait {port}:")).unwrap();
    let body = source.get(from..).unwrap().split("\n}\n").next().unwrap();
    let mut documentation = String::new();
    let mut found = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            documentation.push_str(text);
        } else if let Some(rest) = line.strip_prefix("async fn ") {
            let name = rest.split('(').next().unwrap().to_owned();
            found.push((name, std::mem::take(&mut documentation)));
        }
    }
    found
}

/// What stands in backticks and has a service and an action.
fn actions(documentation: &str) -> Vec<&str> {
    let is_action = |text: &&str| {
        text.split_once(':').is_some_and(|(service, action)| {
            !service.is_empty() && action.starts_with(|c: char| c.is_ascii_uppercase())
        })
    };
    documentation.split('`').filter(is_action).collect()
}

#[test]
fn a_method_of_a_port_has_the_actions_that_its_documentation_names() {
    for (module, port, declared) in PORTS {
        let methods = methods(module, port);
        let names: Vec<&str> = methods.iter().map(|(name, _)| name.as_str()).collect();
        let known: Vec<&str> = declared.iter().map(|call| call.method).collect();
        assert_eq!(known, names, "the calls of {port}");
        for (call, (_, documentation)) in declared.iter().zip(&methods) {
            assert_eq!(call.port, port);
            assert_eq!(
                call.actions,
                actions(documentation),
                "{port}::{}",
                call.method
            );
        }
    }
}

#[test]
fn every_port_of_the_crate_is_asked() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let calls_aws = source.contains("\npub trait ");
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            !calls_aws || PORTS.iter().any(|(known, ..)| *known == module),
            "{module} is a port whose calls are not declared"
        );
    }
}
