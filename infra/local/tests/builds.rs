//! CodeBuild in the local cloud: the buildspec really runs, and Packer's place is taken by `CreateImage`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gennaker_local::{LocalCloud, Options, Silent};
use serde_json::{Value, json};

fn cloud() -> &'static LocalCloud {
    static CLOUD: OnceLock<LocalCloud> = OnceLock::new();
    CLOUD.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        LocalCloud::start(&Options::new(target), &Silent).unwrap()
    })
}

/// Creates a project with this buildspec (the request passes through to the main emulator).
fn project(name: &str, buildspec: &str) {
    let parameters = json!({
        "name": name,
        "source": {"type": "NO_SOURCE", "buildspec": buildspec},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {
            "type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL",
            "environmentVariables": [{"name": "COLOUR", "value": "red"}, {"name": "SHAPE", "value": "round"}]
        },
        "serviceRole": "arn:aws:iam::123456789012:role/build",
    });
    cloud()
        .call("codebuild", "create_project", parameters)
        .unwrap();
}

fn start(parameters: Value) -> String {
    let answer = cloud()
        .call("codebuild", "start_build", parameters)
        .unwrap();
    answer["build"]["id"].as_str().unwrap().to_owned()
}

fn build(id: &str) -> Value {
    let answer = cloud()
        .call("codebuild", "batch_get_builds", json!({"ids": [id]}))
        .unwrap();
    answer["builds"][0].clone()
}

fn finished(id: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let build = build(id);
        if build["buildStatus"] != "IN_PROGRESS" {
            return build;
        }
        assert!(Instant::now() < deadline, "{build}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The build's log as CloudWatch Logs has it.
fn log(build: &Value) -> String {
    let parameters = json!({
        "logGroupName": build["logs"]["groupName"], "logStreamName": build["logs"]["streamName"], "startFromHead": true,
    });
    let answer = cloud().call("logs", "get_log_events", parameters).unwrap();
    let line = |event: &Value| event["message"].as_str().unwrap().to_owned() + "\n";
    answer["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(line)
        .collect()
}

fn phases(build: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    build["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| (text(&phase["phaseType"]), text(&phase["phaseStatus"])))
        .filter(|(name, _)| {
            ["INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD"].contains(&name.as_str())
        })
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(name, status)| ((*name).to_owned(), (*status).to_owned()))
        .collect()
}

#[test]
fn commands_run_in_one_shell_and_exported_variables_come_back() {
    project(
        "shell",
        r#"
version: 0.2
env:
  variables: {COLOUR: blue, SIZE: small}
  exported-variables: [RESULT, MISSING]
phases:
  pre_build:
    commands:
      - mkdir work && cd work
      - part="$COLOUR $SHAPE $SIZE"
  build:
    commands:
      - |
        if [ "$(basename "$PWD")" = work ]; then
          RESULT="$part 'quoted' $EXTRA"
        fi
      - echo "result is $RESULT"
"#,
    );
    let id = start(json!({
        "projectName": "shell", "environmentVariablesOverride": [{"name": "EXTRA", "value": "a $(b) c"}]
    }));
    let build = finished(&id);
    assert_eq!(build["buildStatus"], "SUCCEEDED", "{}", log(&build));
    assert_eq!(build["buildComplete"], true);
    assert_eq!(
        build["exportedEnvironmentVariables"],
        json!([{"name": "MISSING", "value": ""}, {"name": "RESULT", "value": "red round small 'quoted' a $(b) c"}])
    );
    assert!(
        log(&build).contains("result is red round small 'quoted' a $(b) c\n"),
        "{}",
        log(&build)
    );
}

#[test]
fn a_failed_command_ends_its_phase_and_only_post_build_still_runs() {
    project(
        "failing",
        r#"
version: 0.2
phases:
  build:
    commands:
      - "false"
      - echo not reached
    finally:
      - echo finally runs
  post_build:
    commands:
      - echo "succeeding $CODEBUILD_BUILD_SUCCEEDING"
"#,
    );
    let build = finished(&start(json!({"projectName": "failing"})));
    let log = log(&build);
    assert_eq!(build["buildStatus"], "FAILED", "{log}");
    assert_eq!(
        phases(&build),
        pairs(&[
            ("INSTALL", "SUCCEEDED"),
            ("PRE_BUILD", "SUCCEEDED"),
            ("BUILD", "FAILED"),
            ("POST_BUILD", "SUCCEEDED")
        ])
    );
    assert!(
        log.contains("\nfinally runs\n") && log.contains("\nsucceeding 0\n"),
        "{log}"
    );
    assert!(!log.contains("\nnot reached\n"), "{log}");
}

#[test]
fn a_failed_pre_build_or_an_exit_skips_what_follows() {
    for (name, command) in [("skip-false", "(exit 3)"), ("skip-exit", "exit 3")] {
        project(
            name,
            &format!(
                "{{version: 0.2, phases: {{pre_build: {{commands: ['{command}']}}, build: {{commands: [echo no]}}}}}}"
            ),
        );
        let build = finished(&start(json!({"projectName": name})));
        assert_eq!(build["buildStatus"], "FAILED", "{}", log(&build));
        assert_eq!(
            phases(&build),
            pairs(&[("INSTALL", "SUCCEEDED"), ("PRE_BUILD", "FAILED")]),
            "{name}"
        );
    }
}

#[test]
fn a_build_can_be_stopped_and_its_processes_end() {
    project(
        "endless",
        "{version: 0.2, phases: {build: {commands: [sleep 1000]}}}",
    );
    let id = start(json!({"projectName": "endless"}));
    let deadline = Instant::now() + Duration::from_secs(10);
    while build(&id)["currentPhase"] != "BUILD" {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    cloud()
        .call("codebuild", "stop_build", json!({"id": id}))
        .unwrap();
    let build = finished(&id);
    assert_eq!(build["buildStatus"], "STOPPED");
    assert_eq!(phases(&build).last().unwrap().1, "STOPPED");
}

#[test]
fn a_buildspec_that_cannot_be_read_and_an_unknown_project_are_told() {
    project("broken", "version: 0.2\nphases: [");
    let build = finished(&start(json!({"projectName": "broken"})));
    assert_eq!(build["buildStatus"], "FAILED");
    assert!(log(&build).contains("YAML_FILE_ERROR"), "{}", log(&build));
    let error = cloud()
        .call("codebuild", "start_build", json!({"projectName": "nobody"}))
        .unwrap_err();
    assert!(
        error.to_string().contains("ResourceNotFoundException"),
        "{error}"
    );
}

#[test]
fn the_same_idempotency_token_starts_one_build() {
    project(
        "once",
        "{version: 0.2, phases: {build: {commands: ['true']}}}",
    );
    let request = json!({"projectName": "once", "idempotencyToken": "execution-1"});
    assert_eq!(start(request.clone()), start(request));
}

#[test]
fn packer_creates_the_image_that_its_template_names() {
    let template = r#"{
      "variables": {"aws_target_ami": "", "aws_source_ami": ""},
      "builders": [{
        "type": "amazon-ebs", "region": "us-east-1", "source_ami": "{{user `aws_source_ami`}}",
        "instance_type": "t3.micro", "ami_name": "{{user `aws_target_ami`}}", "tags": {"appversion": "shop-3.0.0-h7"}
      }],
      "post-processors": [{"type": "manifest", "output": "manifest.json"}]
    }"#;
    let hcl = r#"
      variable "name" { default = "none" }
      source "amazon-ebs" "shop" {
        region     = "us-east-1"
        ami_name   = "${var.name}-hcl"
        source_ami = "ami-base"
        tags = { appversion = "shop-3.0.0-h8" }
      }"#;
    cloud()
        .seed_for_pipeline(
            &json!({"stages": [{"type": "bake", "baseAmi": "ami-base", "regions": ["us-east-1"]}]}),
            false,
        )
        .unwrap();
    let buildspec = json!({"version": 0.2, "env": {"exported-variables": ["IMAGE"]}, "phases": {"build": {"commands": [
        "printf %s \"$TEMPLATE\" > template.json; printf %s \"$HCL\" > template.pkr.hcl",
        "packer build -var aws_target_ami=shop-3.0.0 -var aws_source_ami=ami-base template.json",
        "packer build -var name=shop-3.0.1 template.pkr.hcl",
        "IMAGE=$(sed -n 's/.*\"artifact_id\": \"us-east-1:\\(ami-[^\"]*\\)\".*/\\1/p' manifest.json)",
    ]}}});
    project("bake", &buildspec.to_string());
    let request = json!({"projectName": "bake", "environmentVariablesOverride": [
        {"name": "TEMPLATE", "value": template}, {"name": "HCL", "value": hcl}
    ]});
    let build = finished(&start(request.clone()));
    let log = log(&build);
    assert_eq!(build["buildStatus"], "SUCCEEDED", "{log}");
    assert!(log.contains("CreateImage takes its place"), "{log}");
    let image = build["exportedEnvironmentVariables"][0]["value"]
        .as_str()
        .unwrap();
    assert!(log.contains(&format!("us-east-1: {image}")), "{log}");
    let images = cloud()
        .call("ec2", "describe_images", json!({"ImageIds": [image]}))
        .unwrap();
    assert_eq!(images["Images"][0]["Name"], "shop-3.0.0");
    assert_eq!(
        images["Images"][0]["Tags"],
        json!([{"Key": "appversion", "Value": "shop-3.0.0-h7"}])
    );
    let by_name = json!({"Filters": [{"Name": "name", "Values": ["shop-3.0.1-hcl"]}]});
    let images = cloud().call("ec2", "describe_images", by_name).unwrap();
    assert_eq!(
        images["Images"][0]["Tags"],
        json!([{"Key": "appversion", "Value": "shop-3.0.0-h8"}])
    );
    // Packer refuses a name that is taken, and so does this one.
    assert_eq!(finished(&start(request))["buildStatus"], "FAILED");
}
