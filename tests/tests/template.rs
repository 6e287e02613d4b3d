//! One stage, one name: a function's folder, its package, its binary, its resource, its name, its code and its log group. And the
//! template's size, and what it embeds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use gennaker_compiler::built::BUILT;
use gennaker_compiler::catalog::STAGE_TYPES;
use gennaker_local::{Python, Silent};
use gennaker_tests::workspace;

/// CloudFormation takes 500 resources in a stack; nested stacks by family come before that.
const MOST_RESOURCES: usize = 450;

fn template() -> String {
    fs::read_to_string(workspace().join("infra/template.yaml")).unwrap()
}

/// Folders of `functions/`.
fn folders() -> BTreeSet<String> {
    fs::read_dir(workspace().join("functions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// `ResizeServerGroup` of `resize-server-group`.
fn camel(name: &str) -> String {
    name.split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}

/// The resources of the template: logical id to its lines.
fn resources() -> BTreeMap<String, String> {
    let template = template();
    let body = template
        .split_once("\nResources:\n")
        .unwrap()
        .1
        .split_once("\nOutputs:\n")
        .unwrap()
        .0;
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut current = String::new();
    for line in body.lines() {
        let is_name = line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':');
        if is_name {
            current = line.trim().trim_end_matches(':').to_owned();
        }
        let text = found.entry(current.clone()).or_default();
        text.push_str(line);
        text.push('\n');
    }
    found
}

fn functions() -> BTreeMap<String, String> {
    resources()
        .into_iter()
        .filter(|(_, text)| text.contains("Type: AWS::Serverless::Function"))
        .collect()
}

#[test]
fn a_function_has_one_name_from_its_folder_to_its_log_group() {
    let folders = folders();
    let functions = functions();
    let expected: BTreeSet<String> = folders
        .iter()
        .map(|name| format!("{}Function", camel(name)))
        .collect();
    let found: BTreeSet<String> = functions.keys().cloned().collect();
    assert_eq!(found, expected, "functions/ and infra/template.yaml differ");
    let resources = resources();
    for name in &folders {
        let function = &functions[&format!("{}Function", camel(name))];
        for line in [
            format!("FunctionName: !Sub ${{Prefix}}-{name}\n"),
            format!("CodeUri: ../target/lambda/{name}/\n"),
            format!("LogGroup: !Ref {}LogGroup}}", camel(name)),
        ] {
            assert!(function.contains(&line), "`{name}` lacks `{}`", line.trim());
        }
        let group = &resources[&format!("{}LogGroup", camel(name))];
        assert!(group.contains(&format!(
            "LogGroupName: !Sub /aws/lambda/${{Prefix}}-{name}\n"
        )));
        assert!(group.contains("RetentionInDays: !Ref LogRetentionDays"));
        let manifest =
            fs::read_to_string(workspace().join("functions").join(name).join("Cargo.toml"))
                .unwrap();
        assert!(
            manifest.contains(&format!("name = \"gennaker-{name}\"")),
            "package of `{name}`"
        );
        assert!(
            manifest.contains(&format!("[[bin]]\nname = \"{name}\"")),
            "binary of `{name}`"
        );
    }
}

#[test]
fn every_stage_that_the_compiler_takes_as_built_has_its_function() {
    let folders = folders();
    for name in BUILT {
        assert!(
            folders.contains(*name),
            "`{name}` is built, and functions/ has no such folder"
        );
    }
}

/// Functions of the template's section of this title.
fn section(title: &str) -> BTreeSet<String> {
    let template = template();
    let (_, rest) = template
        .split_once(&format!("\n  # --- {title} ---"))
        .unwrap();
    let section = rest.split("\n  # --- ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.trim().strip_prefix("FunctionName: !Sub ${Prefix}-"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_stage_of_a_flow_has_tests_of_its_success_its_failure_and_its_time_out() {
    let tests: String = fs::read_dir(workspace().join("tests/tests"))
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    let page = fs::read_to_string(workspace().join("tests/README.md")).unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |"))
        .map(|row| {
            let mut cells = row.split("` | `");
            (cells.next().unwrap(), cells.collect())
        })
        .collect();
    let flow = section("flow stages");
    assert!(flow.len() > 10, "{flow:?}");
    for known in STAGE_TYPES
        .iter()
        .filter(|known| flow.contains(known.function))
    {
        let Some(named) = rows.get(known.name) else {
            panic!("tests/README.md has no row for `{}`", known.name);
        };
        assert_eq!(named.len(), 3, "{}: success, failure, time-out", known.name);
        for test in named {
            assert!(
                tests.contains(&format!("#[test]\nfn {test}() {{")),
                "{}: there is no test `{test}`",
                known.name
            );
        }
    }
}

#[test]
fn whoever_may_change_a_server_group_does_it_under_the_lock_of_its_cluster() {
    let changes = [
        "Create", "Delete", "Put", "Update", "Suspend", "Resume", "Attach", "Detach", "Set",
    ];
    let mut guarded = 0;
    for name in folders() {
        let function = &functions()[&format!("{}Function", camel(&name))];
        let changes = changes
            .iter()
            .any(|verb| function.contains(&format!("autoscaling:{verb}")));
        let main = fs::read_to_string(
            workspace()
                .join("functions")
                .join(&name)
                .join("src/main.rs"),
        )
        .unwrap();
        let is_guarded = main.contains("Guarded::connect(");
        assert!(is_guarded || !changes, "`{name}` takes no lock");
        assert_eq!(
            function.contains("!Ref GuardPolicy"),
            is_guarded,
            "`{name}` and its policies"
        );
        guarded += usize::from(is_guarded);
    }
    assert!(guarded > 10, "{guarded}");
}

#[test]
fn under_an_accounts_role_a_function_may_do_what_it_may_do_in_its_own_account() {
    let resources = resources();
    let services = [
        "autoscaling",
        "cloudwatch",
        "ec2",
        "elasticloadbalancing",
        "iam",
        "servicequotas",
    ];
    let granted = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'))
            .filter_map(|word| word.split_once(':'))
            .filter(|(service, _)| services.contains(service))
            .filter(|(_, name)| {
                name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains(':')
            })
            .filter(|(_, name)| *name != "PassedToService")
            .map(|(service, name)| format!("{service}:{name}"))
            .collect()
    };
    let sessions: BTreeMap<&str, BTreeSet<String>> = gennaker_cloud::session::actions()
        .map(|(function, actions)| (function, actions.into_iter().map(str::to_owned).collect()))
        .collect();
    for name in folders() {
        let function = &functions()[&format!("{}Function", camel(&name))];
        let mut expected = BTreeSet::new();
        if function.contains("!Ref AccountPolicy") {
            expected = granted(function);
            if function.contains("!Ref GuardPolicy") {
                expected.extend(granted(&resources["GuardPolicy"]));
            }
        }
        let found = sessions.get(name.as_str()).cloned().unwrap_or_default();
        assert_eq!(
            found, expected,
            "`{name}`: shared/cloud/src/session.rs and infra/template.yaml differ"
        );
    }
}

#[test]
fn the_actions_that_a_functions_page_names_are_in_its_policies() {
    let resources = resources();
    for name in folders() {
        let page = fs::read_to_string(workspace().join("functions").join(&name).join("README.md"))
            .unwrap();
        let function = &resources[&format!("{}Function", camel(&name))];
        let mut granted = function.clone();
        for policy in ["StageRuntimePolicy", "TokenPolicy", "AccountPolicy"] {
            if function.contains(&format!("!Ref {policy}")) {
                granted.push_str(&resources[policy]);
            }
        }
        for row in page.lines().filter(|line| line.starts_with("| IAM |")) {
            for action in actions(row) {
                assert!(
                    granted.contains(&action),
                    "functions/{name}/README.md names `{action}`, the template does not grant it"
                );
            }
        }
    }
}

/// The actions of a row such as ``| IAM | the table; `ec2:` CreateTags, RunInstances; `iam:PassRole` |``.
fn actions(row: &str) -> Vec<String> {
    let mut service = String::new();
    let mut found = Vec::new();
    for word in row.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':')) {
        let call = match word.split_once(':') {
            Some((name, call)) => {
                name.clone_into(&mut service);
                call
            }
            None => word,
        };
        let capitals = call.chars().filter(char::is_ascii_uppercase).count();
        // Two words at least: `DescribeImages` is an action, `Detach` and `BAKE` are not.
        if !service.is_empty() && capitals >= 2 && call.chars().any(|c| c.is_ascii_lowercase()) {
            found.push(format!("{service}:{call}"));
        }
    }
    found
}

#[test]
fn only_wake_may_read_task_tokens() {
    for (name, text) in resources() {
        for statement in text.split("- Effect: Allow").skip(1) {
            if !statement.contains("TOKEN#*") {
                continue;
            }
            let reads =
                statement.contains("dynamodb:GetItem") || statement.contains("dynamodb:Query");
            assert_eq!(reads, name == "WakeFunction", "{name}: {statement}");
        }
    }
    for (name, text) in functions() {
        assert_eq!(
            text.contains("states:SendTask"),
            name == "WakeFunction",
            "{name} may end Tasks"
        );
        assert_eq!(
            text.contains("states:CreateStateMachine"),
            name == "SavePipelineFunction",
            "{name} may create machines"
        );
    }
}

#[test]
fn what_a_bake_runs_is_what_infra_packer_says() {
    let project = &resources()["BakeProject"];
    let embedded: String = project
        .split_once("BuildSpec: |\n")
        .unwrap()
        .1
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("          "))
        .map(|line| line.get(10..).unwrap_or_default().to_owned() + "\n")
        .collect();
    let file = fs::read_to_string(workspace().join("infra/packer/buildspec.yml")).unwrap();
    assert_eq!(embedded.trim_end(), file.trim_end());
    let template = project
        .lines()
        .find(|line| line.trim().starts_with("{\"variables\""))
        .unwrap();
    let embedded: serde_json::Value = serde_json::from_str(template.trim()).unwrap();
    let file = fs::read_to_string(workspace().join("infra/packer/aws-ebs.json")).unwrap();
    assert_eq!(
        embedded,
        serde_json::from_str::<serde_json::Value>(&file).unwrap()
    );
}

#[test]
fn the_expanded_template_leaves_room_in_its_stack() {
    // The SAM translator of the local cloud, which is the one that AWS runs.
    let script = r#"
import re, sys
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

class NoPolicies:
    def load(self):
        return {}

text = re.sub(r"(CodeUri|DefinitionUri): \.\.\S+", r"\1: s3://bucket/key", sys.stdin.read())
print(len(transform(yaml_parse(text), {}, NoPolicies())["Resources"]))
"#;
    let target = std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(3)
        .unwrap()
        .to_owned();
    let python = Python::set_up(&target, &Silent).unwrap();
    let output = Command::new(python.bin().join("python"))
        .args(["-c", script])
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .stdin(fs::File::open(workspace().join("infra/template.yaml")).unwrap())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let count: usize = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap();
    let fewest = folders().len() * 5;
    assert!(
        (fewest..MOST_RESOURCES).contains(&count),
        "{count} resources: split the template into nested stacks by family"
    );
}
