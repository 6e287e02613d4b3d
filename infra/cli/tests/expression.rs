//! `gennaker expression` as scripts and people use it: the process, its answers and its exit status.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "../../../shared/expressions/tests/recorded/mod.rs"]
mod recorded;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// The command with this standard input.
fn gennaker(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gennaker"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Beside the reading: the command answers while it is still being asked.
    let writer = std::thread::spawn(move || {
        // A command that refuses its arguments does not read.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_recorded_answer_of_the_original_comes_out_of_the_command_in_order() {
    let Some(recorded) = recorded::recorded() else {
        println!("skipped: no corpus");
        return;
    };
    let cases: String = recorded
        .iter()
        .map(|one| format!("{}\n", one.case))
        .collect();
    let output = gennaker(
        &["expression", "evaluate", "--cases", "-"],
        cases.as_bytes(),
    );
    assert!(output.status.success());
    let answers = lines(&output);
    assert_eq!(answers.len(), recorded.len());
    let mut wrong = 0;
    for (one, answer) in recorded.iter().zip(&answers) {
        assert_eq!(Some(&one.fields["id"]), answer.get("id"));
        if !one.accepts(answer) {
            wrong += 1;
            println!("{}", one.difference(answer));
        }
    }
    println!("{} of {} equal", answers.len() - wrong, answers.len());
    assert_eq!(wrong, 0);
}

#[test]
fn a_bad_line_is_answered_with_its_own_error_and_the_next_one_is_evaluated() {
    let mut input = Vec::new();
    input.extend_from_slice(b"{\"id\":\"1\",\"expression\":\"${1 + 1}\",\"context\":{}}\n");
    input.extend_from_slice(b"{\"id\":\"2\", broken\n\n");
    input.extend_from_slice(b"\xff\xfe\n[1]\n{\"id\":\"5\"}\n");
    input.extend_from_slice(
        b"{\"id\":6,\"expression\":\"${'a'}\",\"context\":{},\"now\":\"noon\"}\n",
    );
    input.extend_from_slice(b"{\"id\":\"7\",\"expression\":\"${n}\",\"context\":{\"n\":123456789012345678901234567890}}");
    let output = gennaker(&["expression", "evaluate", "--cases", "-"], &input);
    assert!(output.status.success());
    let answers = lines(&output);
    assert_eq!(answers.len(), 7);
    assert_eq!(
        answers[0],
        json!({"id": "1", "result": 2, "types": {}, "failures": []})
    );
    assert!(answers[1]["throws"].as_str().unwrap().contains("no JSON"));
    assert!(answers[2]["throws"].as_str().unwrap().contains("UTF-8"));
    for (at, id) in [(3, None), (4, Some(json!("5"))), (5, Some(json!(6)))] {
        assert!(answers[at]["throws"].is_string(), "{}", answers[at]);
        assert_eq!(answers[at].get("id"), id.as_ref());
    }
    assert_eq!(answers[6]["result"], "123456789012345678901234567890");
    assert_eq!(answers[6]["types"], json!({"": "java.math.BigInteger"}));
}

#[test]
fn one_expression_prints_json_or_its_explanation_and_exit_status_one() {
    let context =
        br#"{"parameters": {"image": "app:v1"}, "trigger": {"parameters": {"image": "app:v1"}}}"#;
    let evaluate = |text: &str| {
        gennaker(
            &["expression", "evaluate", "--context", "-", text],
            context.as_slice(),
        )
    };
    let done = evaluate("${parameters.image.split(':')}");
    assert!(done.status.success());
    let value: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(value, json!(["app", "v1"]));

    let missing = evaluate("${parameters.imge}");
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.stdout.is_empty());
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.contains("imge") && said.contains("image"), "{said}");

    let forbidden = evaluate("${T(Runtime).getRuntime()}");
    assert_eq!(forbidden.status.code(), Some(1));

    let no_object = gennaker(
        &["expression", "evaluate", "--context", "-", "${1}"],
        b"[1]",
    );
    assert_eq!(no_object.status.code(), Some(2));
}

#[test]
fn what_check_says_of_a_pipeline_the_compiler_says_too() {
    let pipeline = json!({
        "application": "shop", "name": "release",
        "parameterConfig": [{"name": "image"}],
        "stages": [
            {"refId": 1, "type": "wait", "name": "Settle", "waitTime": "${#toInteger(parameters.imge)}"},
            {"refId": 2, "type": "wait", "name": "Again", "requisiteStageRefIds": [1],
             "waitTime": "${T(java.lang.Runtime).getRuntime()}", "comments": "${#stage('Setle').status}"},
        ],
    })
    .to_string();
    let said = |arguments: &[&str]| {
        let output = gennaker(arguments, pipeline.as_bytes());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        document["problems"].as_array().unwrap().clone()
    };
    let checked = said(&["expression", "check", "-", "--json"]);
    let short: Vec<(&str, &str, &str)> = checked
        .iter()
        .map(|problem| {
            (
                problem["code"].as_str().unwrap(),
                problem["stage"].as_str().unwrap(),
                problem["path"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            ("unknown-parameter", "1", "$.stages[0].waitTime"),
            ("unknown-function", "1", "$.stages[0].waitTime"),
            ("forbidden-type", "2", "$.stages[1].waitTime"),
            ("unknown-stage", "2", "$.stages[1].comments"),
        ]
    );
    assert_eq!(checked[0]["hint"], "did you mean `image`?");
    assert_eq!(checked[3]["hint"], "did you mean `Settle`?");
    for command in ["compile", "plan"] {
        let compiled = said(&["pipeline", command, "-", "--json"]);
        for problem in &checked {
            assert!(
                compiled.contains(problem),
                "{command} does not say {problem}"
            );
        }
    }
}
