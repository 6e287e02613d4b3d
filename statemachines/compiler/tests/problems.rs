//! What an author sees: every problem at once, each with its stage, its place and what to do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::Path;

use gennaker_compiler::catalog::{STAGE_TYPES, Undo};
use gennaker_compiler::{BuiltFunctions, Compiled, Mode, Options, compile};
use gennaker_domain::deployment::strategy::Condition;
use gennaker_domain::{Owner, Problem};
use serde_json::{Value, json};

fn refused(pipeline: Value) -> Vec<Problem> {
    compile(&pipeline, &Options::default()).unwrap_err()
}

fn compiled(pipeline: Value) -> Compiled {
    compile(&pipeline, &Options::default()).unwrap()
}

fn codes(problems: &[Problem]) -> Vec<&str> {
    problems
        .iter()
        .map(|problem| problem.code.as_str())
        .collect()
}

#[test]
fn all_problems_are_told_at_once() {
    let problems = refused(json!({"stages": [
        {"refId": "1", "type": "resizeServergroup"},
        {"refId": "1", "type": "wait"},
        {"refId": "2", "type": "wait", "requisiteStageRefIds": ["7"]},
        {"refId": "3", "type": "wait", "requisiteStageRefIds": ["4"]},
        {"refId": "4", "type": "wait", "requisiteStageRefIds": ["3"]},
        {"refId": "5", "type": "deployAppEngineConfiguration"},
    ]}));
    assert_eq!(
        codes(&problems),
        [
            "unknown-stage-type",
            "outside-aws",
            "duplicate-ref-id",
            "dangling-requisite",
            "cyclic-requisites"
        ]
    );
    assert_eq!(problems[0].path, "$.stages[0].type");
    assert_eq!(problems[0].stage.as_deref(), Some("1"));
    assert_eq!(
        problems[0].hint.as_deref(),
        Some("did you mean `resizeServerGroup`?")
    );
    assert_eq!(problems[3].path, "$.stages[2].requisiteStageRefIds[0]");
    assert_eq!(
        problems[4].message,
        "stages wait for each other: `3` after `4` after `3`"
    );
}

#[test]
fn a_missing_requisite_is_ignored_if_another_exists() {
    let compiled = compiled(json!({"stages": [
        {"refId": "1", "type": "wait"},
        {"refId": "2", "type": "wait", "requisiteStageRefIds": ["1", "9"]},
    ]}));
    assert_eq!(codes(&compiled.warnings), ["dangling-requisite"]);
    assert_eq!(compiled.plan.stages[1].requisites, ["1"]);
}

#[test]
fn without_ref_ids_each_stage_follows_the_one_before() {
    let compiled =
        compiled(json!({"stages": [{"type": "wait"}, {"type": "wait"}, {"type": "wait"}]}));
    let stages: Vec<(&str, &[String])> = compiled
        .plan
        .stages
        .iter()
        .map(|stage| (stage.ref_id.as_str(), stage.requisites.as_slice()))
        .collect();
    assert_eq!(
        stages,
        [
            ("0", &[][..]),
            ("1", &["0".to_owned()][..]),
            ("2", &["1".to_owned()][..])
        ]
    );
}

#[test]
fn what_follows_clusters_whose_failure_is_ignored_joins_and_need_not_wait_for_the_others() {
    let deploy = |ignores: bool| {
        let cluster = |region: &str| json!({"account": "prod", "application": "shop", "cloudProvider": "aws", "region": region});
        compiled(json!({"stages": [
            {"refId": "1", "type": "deploy", "continuePipeline": ignores,
             "clusters": [cluster("eu-west-1"), cluster("us-east-1")]},
            {"refId": "2", "type": "wait", "waitTime": 5, "requisiteStageRefIds": ["1"]},
        ]}))
    };
    let joins = |compiled: &Compiled| compiled.plan.stage("2").unwrap().joins;
    assert!(joins(&deploy(true)));
    assert!(!joins(&deploy(false)));
}

#[test]
fn an_unknown_type_is_refused_and_fails_at_its_turn_where_outcomes_are_told() {
    let pipeline = json!({"stages": [{"refId": "1", "type": "nosuchstage"}]});
    let problems = compile(&pipeline, &Options::default()).unwrap_err();
    assert_eq!(codes(&problems), ["unknown-stage-type"]);
    let told = Options {
        mode: Mode::Evaluate,
        ..Options::default()
    };
    let compiled = compile(&pipeline, &told).unwrap();
    assert_eq!(codes(&compiled.warnings), ["unknown-stage-type"]);
    assert!(compiled.plan.stage("1").unwrap().function.is_some());
}

#[test]
fn numbers_are_ref_ids_too() {
    let compiled = compiled(json!({"stages": [
        {"refId": 1, "type": "wait"},
        {"refId": "2", "type": "wait", "requisiteStageRefIds": [1]},
    ]}));
    assert_eq!(compiled.plan.stages[1].requisites, ["1"]);
}

#[test]
fn a_stage_without_a_function_is_a_warning_to_look_at_and_an_error_to_save() {
    let pipeline =
        json!({"application": "shop", "name": "x", "stages": [{"refId": "1", "type": "webhook"}]});
    let built = BuiltFunctions::new(["wait"]);
    let looked_at = Options {
        built: built.clone(),
        ..Options::default()
    };
    let answer = compile(&pipeline, &looked_at).unwrap();
    assert_eq!(codes(&answer.warnings), ["stage-not-built"]);
    assert_eq!(
        answer.warnings[0].hint.as_deref(),
        Some("it can be planned and simulated; saving refuses it")
    );
    let saved = Options {
        built,
        mode: Mode::Save,
        ..Options::default()
    };
    let problems = compile(&pipeline, &saved).unwrap_err();
    assert_eq!(codes(&problems), ["stage-not-built"]);
    assert!(problems[0].is_error());
}

#[test]
fn text_in_continue_pipeline_is_refused_because_the_original_loops() {
    let stage = |value: Value| json!({"stages": [{"refId": "1", "type": "wait", "continuePipeline": value}]});
    assert_eq!(
        codes(&refused(stage(json!("true")))),
        ["continue-pipeline-is-text"]
    );
    compiled(stage(json!("${true}")));
}

#[test]
fn a_stage_that_lets_the_pipeline_go_on_catches_everything_but_the_end_of_the_execution() {
    let compiled = compiled(json!({"stages": [
        {"refId": "1", "type": "bake", "failPipeline": false},
        {"refId": "2", "type": "bake", "failPipeline": "${parameters.strict}", "requisiteStageRefIds": ["1"]},
        {"refId": "3", "type": "bake", "continuePipeline": true, "failOnFailedExpressions": true, "requisiteStageRefIds": ["2"]},
        {"refId": "4", "type": "bake", "continuePipeline": true, "requisiteStageRefIds": ["3"]},
    ]}));
    let states = &compiled.definition["States"];
    assert_eq!(
        states["bake-1"]["Catch"],
        json!([
            {"ErrorEquals": ["StageFailed"], "Next": "failed-1"},
            {"ErrorEquals": ["States.ALL"], "Next": "bake-2"},
        ])
    );
    assert_eq!(states["failed-1"]["Type"], "Fail");
    // Known only when it runs, or ended by a failed expression whatever the policy.
    assert_eq!(states["bake-2"]["Catch"], Value::Null);
    assert_eq!(states["bake-3"]["Catch"], Value::Null);
    assert_eq!(states["bake-4"]["Catch"][1]["Next"], "end-1");
    assert_eq!(states["end-1"]["Type"], "Succeed");
}

#[test]
fn a_red_black_deploy_has_the_sub_stages_that_spinnaker_shows() {
    let compiled = compiled(json!({"stages": [{
        "refId": "3", "type": "deploy", "name": "Deploy", "failPipeline": false,
        "clusters": [
            {"account": "prod", "application": "shop", "stack": "web", "strategy": "RedBlack", "maxRemainingAsgs": 2,
             "scaleDown": true, "delayBeforeDisableSec": 60, "delayBeforeScaleDownSec": 0, "useSourceCapacity": true,
             "availabilityZones": {"eu-west-1": ["eu-west-1a"]}},
            {"account": "prod", "application": "shop", "strategy": "highlander", "region": "us-east-1"},
        ],
    }]}));
    let shown: Vec<(&str, &str, &str)> = compiled
        .plan
        .stages
        .iter()
        .map(|stage| {
            (
                stage.ref_id.as_str(),
                stage.stage_type.as_str(),
                stage.name.as_str(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("3", "deploy", "Deploy"),
            ("3<1", "createServerGroup", "Deploy in eu-west-1"),
            (
                "3<1<1",
                "captureSourceServerGroupCapacity",
                "snapshotSourceServerGroup"
            ),
            ("3<1>1", "shrinkCluster", "shrinkCluster"),
            ("3<1>2", "wait", "Wait Before Disable"),
            ("3<1>3", "disableCluster", "disableCluster"),
            ("3<1>4", "scaleDownCluster", "scaleDown"),
            (
                "3<1>5",
                "applySourceServerGroupCapacity",
                "restoreMinCapacityFromSnapshot"
            ),
            ("3<2", "createServerGroup", "Deploy in us-east-1"),
            ("3<2>1", "shrinkCluster", "shrinkCluster"),
            ("3<2>1<1", "disableCluster", "disableCluster"),
            (
                "3<2>2",
                "applySourceServerGroupCapacity",
                "restoreMinCapacityFromSnapshot"
            ),
        ]
    );
    let stage = |ref_id: &str| compiled.plan.stage(ref_id).unwrap();
    assert_eq!(stage("3").function, None);
    assert_eq!(stage("3<1").owner, Some(Owner::Before));
    assert_eq!(stage("3<1").context["failPipeline"], json!(false));
    assert_eq!(stage("3<1").context.get("clusters"), None);
    assert_eq!(stage("3<1>1").context["cluster"], "shop-web");
    assert_eq!(stage("3<1>1").context["shrinkToSize"], 2);
    assert_eq!(stage("3<1>1").conditions, [Condition::Source]);
    assert_eq!(stage("3<2>1").conditions, []);
    assert!(
        !stage("3<1>1").starts_after[0].whole,
        "an after stage waits for its parent's own task"
    );
    assert!(stage("3<1>2").woken, "a literal wait is woken");
}

#[test]
fn an_execution_window_is_a_stage_before_all_others() {
    let compiled = compiled(json!({"stages": [{
        "refId": "1", "type": "deploy", "restrictExecutionDuringTimeWindow": true,
        "restrictedExecutionWindow": {"days": [2], "whitelist": []},
        "clusters": [{"account": "a", "application": "shop", "region": "us-east-1"}],
    }]}));
    let window = &compiled.plan.stages[1];
    assert_eq!(
        (window.ref_id.as_str(), window.stage_type.as_str()),
        ("1<1", "restrictExecutionDuringTimeWindow")
    );
    assert_eq!(
        window.context["restrictedExecutionWindow"]["days"],
        json!([2])
    );
    assert_eq!(compiled.plan.stages[2].ref_id, "1<2");
    assert_eq!(compiled.plan.stages[2].requisites, ["1<1"]);
}

#[test]
fn secrets_in_plain_text_are_warned_of() {
    let compiled = compiled(json!({"stages": [{
        "refId": "1", "type": "webhook", "url": "https://example.com",
        "customHeaders": {"apiKey": "abc", "password": "ssm:/shop/password", "secretName": "x"},
    }]}));
    let found: Vec<&str> = compiled
        .warnings
        .iter()
        .filter(|problem| problem.code == "secret-in-plain-text")
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(found, ["$.stages[0].customHeaders.apiKey"]);
}

#[test]
fn what_only_can_be_a_secret_is_refused_wherever_it_stands() {
    let token = format!("ghp_{}", "q7Rw2Zk9Lm4Xc8Vb1Np6Ts3Yd5Hf0GjA1b2C");
    let key = "q7Rw2Zk9Lm4Xc8Vb1Np6Ts3Yd5Hf0GjA1b2C+/Ab";
    let pipeline = json!({
        "parameterConfig": [{"name": "token", "default": token}],
        "stages": [{"refId": "1", "type": "webhook", "url": "https://example.com", "payload": {
            "keys": [{"secretAccessKey": key}], "password": "changeme",
        }}],
    });
    let problems = refused(pipeline.clone());
    let of = |error: bool| -> Vec<&str> {
        problems
            .iter()
            .filter(|one| one.code == "secret-in-plain-text" && one.is_error() == error)
            .map(|one| one.path.as_str())
            .collect()
    };
    assert_eq!(
        of(true),
        [
            "$.parameterConfig[0].default",
            "$.stages[0].payload.keys[0].secretAccessKey"
        ]
    );
    assert_eq!(of(false), ["$.stages[0].payload.password"]);
    let told: String = problems.iter().map(|one| format!("{one:?}")).collect();
    assert!(
        !told.contains(&token) && !told.contains(key),
        "nor repeated"
    );
    let played = Options {
        mode: Mode::Evaluate,
        ..Options::default()
    };
    assert!(compile(&pipeline, &played).is_ok());
}

#[test]
fn what_would_become_too_many_sub_stages_is_refused_before_it_does() {
    let cluster = |percentages: usize| {
        json!({
            "account": "prod", "application": "shop", "strategy": "rollingredblack",
            "targetPercentages": vec![50; percentages], "capacity": {"min": 1, "max": 1, "desired": 1},
            "availabilityZones": {"us-east-1": []},
        })
    };
    let deploy = |clusters: Vec<Value>| {
        refused(
            json!({"stages": [{"refId": "1", "type": "deploy", "name": "d", "clusters": clusters}]}),
        )
    };
    let many = deploy(vec![cluster(100); 3_000]);
    assert!(codes(&many).contains(&"too-many-stages"), "{many:?}");
    let steep = deploy(vec![cluster(1_000_000)]);
    assert!(codes(&steep).contains(&"too-many-steps"), "{steep:?}");
}

#[test]
fn a_file_that_an_editor_marked_is_read() {
    let text = "\u{feff}{\"stages\": [{\"type\": \"wait\", \"waitTime\": 1}]}";
    assert!(gennaker_compiler::compile_text(text, &Options::default()).is_ok());
}

#[test]
fn a_function_that_announces_changes_takes_them_back_and_the_catalogue_says_so() {
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions");
    let mut built = 0;
    for known in STAGE_TYPES {
        let Ok(entries) = std::fs::read_dir(functions.join(known.function).join("src")) else {
            continue;
        };
        let source: String = entries
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        let undoes = source.contains("async fn undo(");
        assert_eq!(known.undo != Undo::Nothing, undoes, "{}", known.name);
        assert!(undoes || !source.contains(".intend("), "{}", known.name);
        built += 1;
    }
    assert!(built > 30, "{built}");
}

#[test]
fn what_needs_too_many_history_events_is_warned_of_and_then_refused() {
    // Three days of polls are some 1,800 events.
    let polled = |stages: u64| {
        let stages: Vec<Value> = (0..stages)
            .map(|at| {
                json!({"refId": at, "type": "runJobManifest", "stageTimeoutMs": 259_200_000,
                    "requisiteStageRefIds": []})
            })
            .collect();
        compile(&json!({"stages": stages}), &Options::default())
    };
    let one = polled(1).unwrap();
    assert!(!codes(&one.warnings).contains(&"many-events"));
    let (mut warned, mut refused) = (false, false);
    for stages in 1..30 {
        match polled(stages) {
            Ok(compiled) => {
                let events = compiled.figures.events.max;
                let is_warned = codes(&compiled.warnings).contains(&"many-events");
                assert_eq!(is_warned, events > 10_000, "{events}");
                assert!(events <= 20_000 && !refused);
                warned |= is_warned;
            }
            Err(problems) => {
                assert!(codes(&problems).contains(&"too-many-events"));
                refused = true;
            }
        }
    }
    assert!(warned && refused);
}

#[test]
fn unknown_fields_of_a_stage_stay_in_its_context() {
    let compiled =
        compiled(json!({"stages": [{"refId": "1", "type": "wait", "made": {"up": [1, null]}}]}));
    assert_eq!(
        compiled.plan.stages[0].context["made"],
        json!({"up": [1, null]})
    );
}

#[test]
fn the_picture_shows_sub_stages_people_and_figures() {
    let compiled = compiled(json!({"application": "shop", "name": "release", "stages": [
        {"refId": "1", "type": "manualJudgment", "name": "Go?\u{1b}[31m"},
        {"refId": "2", "type": "deploy", "name": "Ship", "requisiteStageRefIds": ["1"], "continuePipeline": true,
         "clusters": [{"account": "a", "application": "shop", "region": "us-east-1", "strategy": "redblack"}]},
    ]}));
    let picture = gennaker_compiler::picture(&compiled, &gennaker_compiler::Around::default());
    assert!(picture.starts_with("shop / release: 2 stages"), "{picture}");
    assert!(picture.contains("waits for a person"));
    assert!(picture.contains("2<1>1 disableCluster"), "{picture}");
    assert!(picture.contains("a failure is ignored"));
    assert!(
        !picture.contains('\u{1b}'),
        "no control characters reach a terminal"
    );
}
