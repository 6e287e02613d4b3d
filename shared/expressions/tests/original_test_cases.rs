//! The cases of Orca's own tests and of Spring's, as far as they concern the language.
#![allow(clippy::disallowed_methods)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use base64::Engine;
use gennaker_expressions::{
    Context, Evaluator, Level, Limits, Mode, Options, Outcome, Ports, Template, Templates, evaluate,
};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;

/// Orca's cases: all of them, and those that are no matter of the language.
const ORCA_CASES: usize = 154;
/// Cases of the stage runtime, which answers them in its own tests.
const OF_THE_RUNTIME: [u64; 3] = [106, 107, 182];
/// Spring's cases that need no fixture, and those of them that need more than the language as Orca sets it up.
const SPRING_CASES: usize = 471;
const SPRING_REFUSED: usize = 112;
const SPRING_LEFT_OUT: [(u64, &str); 5] = [
    (65, "the test adds a converter of its own"),
    (67, "the test adds a converter of its own"),
    (68, "the test adds a converter of its own"),
    (
        103,
        "the caller asks for another type than the expression's",
    ),
    (391, "the test adds an operator of its own"),
];

fn read(name: &str) -> Option<Vec<Value>> {
    let base = std::env::var_os("GENNAKER_CORPUS")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/corpus"
            ))
        });
    let text = fs::read_to_string(base.join("expressions").join(name)).ok()?;
    let document: Value = serde_json::from_str(&text).unwrap();
    Some(document["cases"].as_array().unwrap().clone())
}

/// The look-ups and the artifact store that a case brings.
struct CasePorts<'c>(&'c Value);

impl Ports for CasePorts<'_> {
    fn fetch(&self, _: &str) -> Result<String, String> {
        Err("no network in tests".to_string())
    }

    fn pipeline_id(&self, application: &str, name: &str) -> Result<Option<String>, String> {
        let pipelines = self.0["context"]["front50Pipelines"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = pipelines.iter().find(|p| {
            p["name"] == name
                && p.get("application")
                    .is_none_or(|known| known == application)
        });
        Ok(found.map(|p| p["id"].as_str().unwrap().to_string()))
    }

    fn application(&self, _: &str) -> Result<Value, String> {
        Err("no applications in tests".to_string())
    }

    fn canary_config_id(&self, _: &str, name: &str) -> Result<Option<String>, String> {
        let configs = self.0["context"]["kayentaConfigs"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(configs
            .iter()
            .find(|c| c["name"] == name)
            .map(|c| c["id"].as_str().unwrap().to_string()))
    }

    fn fetch_reference(&self, reference: &str) -> Result<String, String> {
        let stored = self.0["artifactStore"][reference]
            .as_str()
            .ok_or_else(|| format!("`{reference}` not found"))?;
        Ok(base64::engine::general_purpose::STANDARD.encode(stored))
    }
}

fn run(case: &Value, source: &Value) -> Outcome {
    let context = &case["context"];
    let execution = context.get("execution");
    let stage = case["currentStageRefId"]
        .as_str()
        .map(str::to_string)
        .or_else(|| {
            let id = case["currentStageId"].as_str()?;
            let stages = execution?["stages"].as_array()?;
            stages.iter().find(|stage| stage["id"] == id)?["refId"]
                .as_str()
                .map(str::to_string)
        });
    let stage_context = json!({ "requisiteStageRefIds": case["requisiteStageRefIds"] });
    let built = match execution {
        // A plain map is no execution: functions refuse it.
        Some(execution)
            if execution.get("id").is_none()
                && case["unresolved"] == true
                && case["summaryLevel"].is_null() =>
        {
            Context::from_json(&json!({ "execution": execution }))
        }
        Some(execution) => {
            let mut execution = execution.clone();
            complete_stages(&mut execution);
            let mut stage = stage;
            if case.get("requisiteStageRefIds").is_some() {
                // The stage under test, which the case describes by what it waits for.
                let test = json!({"id": "under-test", "refId": "under-test", "type": "evaluateVariables", "name": "under test",
                    "status": "RUNNING", "context": {}, "outputs": {}, "requisiteStageRefIds": stage_context["requisiteStageRefIds"]});
                execution["stages"].as_array_mut().unwrap().push(test);
                stage = Some("under-test".to_string());
            }
            Context::from_execution(&execution, stage.as_deref(), None)
        }
        None => Context::from_json(if context.is_object() {
            context
        } else {
            &Value::Null
        }),
    };
    let variables = matches!(
        case["kind"].as_str(),
        Some("evaluateVariables" | "evaluateVariables-outputs")
    );
    let templates = Templates::new();
    let ports = CasePorts(case);
    let options = Options {
        evaluator: case["spelEvaluator"]
            .as_str()
            .map_or(Evaluator::V3, Evaluator::of),
        mode: if variables {
            Mode::EvaluateVariables
        } else {
            Mode::Map
        },
        allow_unknown_keys: case["allowUnknownKeys"].as_bool().unwrap_or(true),
        ports: Some(&ports),
        templates: Some(&templates),
        limits: Limits {
            // The one case of this name sets `expression.max-expression-length`.
            expression: match case["name"].as_str() {
                Some("customExpressionLength") => 20_000,
                _ => Limits::default().expression,
            },
            ..Limits::default()
        },
        ..Options::default()
    };
    evaluate(source, &built, &options)
}

/// Gives stages the ids that the case leaves out, and parents by id.
fn complete_stages(execution: &mut Value) {
    let Some(stages) = execution["stages"].as_array_mut() else {
        return;
    };
    for (index, stage) in stages.iter_mut().enumerate() {
        if stage.get("refId").is_none() {
            stage["refId"] = json!(format!("x{index:02}"));
        }
        if stage.get("id").is_none() {
            stage["id"] = json!(format!("id-{}", stage["refId"].as_str().unwrap()));
        }
        if let Some(parent) = stage.get("parentRefId").and_then(Value::as_str) {
            stage["parentStageId"] = json!(format!("id-{parent}"));
        }
    }
}

fn projected(value: &Value, name: &str) -> Value {
    Value::Array(
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item[name].clone())
            .collect(),
    )
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// What is wrong, if anything.
fn orca_case(case: &Value) -> Result<(), String> {
    let expression = &case["expression"];
    let wrapped = match case["kind"].as_str() {
        Some("precondition" | "stageEnabled")
            if !expression.as_str().unwrap_or_default().contains("${") =>
        {
            json!(format!("${{{}}}", expression.as_str().unwrap_or_default()))
        }
        _ => expression.clone(),
    };
    if case["kind"] == "evaluateVariables" {
        let outcome = run(case, &json!({ "variables": case["variables"] }));
        let expected = without_nulls(&case["expected"]);
        return if outcome.value["variables"] == expected {
            Ok(())
        } else {
            Err(format!(
                "want {expected} got {} {:?}",
                outcome.value["variables"], outcome.failures
            ))
        };
    }
    if case["kind"] == "evaluateVariables-outputs" {
        // The task's outputs are the variables as the stage's evaluation left them, by key.
        let outcome = run(case, &json!({ "variables": case["variables"] }));
        let outputs: Map<String, Value> = outcome.value["variables"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| {
                let key = variable["key"].as_str().unwrap();
                (key.to_string(), variable["value"].clone())
            })
            .collect();
        return if Value::Object(outputs.clone()) == case["expected"] {
            Ok(())
        } else {
            Err(format!("want {} got {outputs:?}", case["expected"]))
        };
    }
    let outcome = run(case, &json!({ "v": wrapped }));
    let got = &outcome.value["v"];
    let failed = outcome
        .failures
        .iter()
        .any(|failure| failure.level == Level::Error);
    let all = format!("got {got} {:?}", outcome.failures);
    if case["error"] == true {
        return if failed { Ok(()) } else { Err(all) };
    }
    if let Some(level) = case["summaryLevel"].as_str()
        && outcome
            .failures
            .first()
            .map(|failure| failure.level.as_str())
            != Some(level)
    {
        return Err(all);
    }
    if let Some(entries) = case["summaryEntries"]
        .as_u64()
        .or(case["failureCount"].as_u64())
        && outcome.failures.len() as u64 != entries
    {
        return Err(all);
    }
    if case["unresolved"] == true {
        return if *got == wrapped { Ok(()) } else { Err(all) };
    }
    let expected = &case["expected"];
    match case["kind"].as_str() {
        Some("precondition") => {
            // A precondition that does not resolve fails, whatever the text says.
            let text = if outcome.failures.is_empty() {
                got.to_string()
            } else {
                expression.as_str().unwrap().to_string()
            };
            return if text == expected.as_str().unwrap() {
                Ok(())
            } else {
                Err(all)
            };
        }
        Some("stageEnabled") => {
            // Skipped unless it is true; the expected value is whether it is skipped.
            return if expression.as_str().unwrap_or_default().is_empty()
                || (*got != true) == *expected
            {
                Ok(())
            } else {
                Err(all)
            };
        }
        _ => {}
    }
    if case["compare"] == "projection" {
        let right = expected.as_object().unwrap().iter().all(|(name, value)| {
            if name == "size" {
                json!(got.as_array().unwrap().len()) == *value
            } else {
                projected(got, name) == *value
            }
        });
        return if right { Ok(()) } else { Err(all) };
    }
    if expected.is_null() && *got == wrapped {
        return Ok(());
    }
    // The field that takes the value holds text, as the case notes.
    let text = case["note"]
        .as_str()
        .is_some_and(|note| note.ends_with("is a string"));
    if got == expected || (text && json!(got.to_string()) == *expected) {
        Ok(())
    } else {
        Err(format!("want {expected} {all}"))
    }
}

#[test]
fn answers_orcas_own_cases() {
    let Some(cases) = read("spel-cases.json") else {
        println!("skipped: no corpus");
        return;
    };
    assert_eq!(cases.len(), ORCA_CASES);
    let mut wrong = Vec::new();
    for case in &cases {
        if OF_THE_RUNTIME.iter().any(|n| case["n"] == *n) {
            continue;
        }
        if let Err(found) = orca_case(case) {
            wrong.push(format!(
                "o{} {} {} {}\n    {found}",
                case["n"], case["kind"], case["expression"], case["note"]
            ));
        }
    }
    for line in &wrong {
        println!("{line}");
    }
    assert!(wrong.is_empty(), "{} differ", wrong.len());
}

/// An array as the printer in Spring's tests shows it: `[3]{null,null,null}`.
fn printed_array(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(printed_array).collect();
            format!("[{}]{{{}}}", items.len(), items.join(","))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What is wrong with a case of Spring's tests, if anything.
fn spring_case(case: &Value) -> Result<(), String> {
    let expression = case["expression"].as_str().unwrap();
    let text = format!("${{{expression}}}");
    let parsed = Template::parse(&text);
    if case["parseOnly"] == true {
        return parsed.map(|_| ()).map_err(|error| error.to_string());
    }
    let outcome = evaluate(
        &json!({ "v": text }),
        &Context::from_json(&json!({})),
        &Options::default(),
    );
    let got = &outcome.value["v"];
    let class = outcome.types.get("/v").cloned().unwrap_or_default();
    let all = format!("got {got} {class} {:?}", outcome.failures);
    if case["error"] == true {
        return if outcome
            .failures
            .iter()
            .any(|failure| failure.level == Level::Error)
        {
            Ok(())
        } else {
            Err(all)
        };
    }
    let expected = &case["expected"];
    if case["resultType"] == "unmodifiableClass" && expression.contains("]=") {
        // An inline list refuses to be written to, and stays as it is.
        let refused = outcome
            .failures
            .first()
            .is_some_and(|failure| failure.level == Level::Error);
        return if refused { Ok(()) } else { Err(all) };
    }
    if let Some(printed) = expected
        .as_str()
        .and_then(|text| text.split_once("[2]{").or(text.split_once("[3]{")))
        && case["test"]
            .as_str()
            .is_some_and(|test| test.starts_with("ArrayConstructorTests"))
    {
        let component = printed.0;
        let shown = format!("{component}{}", printed_array(got));
        let of_class = class
            .strip_suffix("[]")
            .map(|of| match of.strip_suffix("[]") {
                Some(inner) => format!("[L{inner};"),
                None => of.to_string(),
            });
        return if Some(shown.as_str()) == expected.as_str()
            && of_class.as_deref() == Some(component)
        {
            Ok(())
        } else {
            Err(format!("{shown} {all}"))
        };
    }
    if expected.is_null() && case.get("expectedJava").is_none() {
        return if outcome
            .failures
            .first()
            .is_some_and(|failure| failure.level == Level::Info)
        {
            Ok(())
        } else {
            Err(all)
        };
    }
    let expected = match case["expectedJava"].as_str() {
        Some("Boolean.TRUE") => json!(true),
        Some("Boolean.FALSE") => json!(false),
        Some("EMPTY") => json!(""),
        Some(java) => {
            let digits = java.rsplit([' ', ')']).next().unwrap();
            match digits.strip_prefix("0x") {
                Some(hex) => json!(i64::from_str_radix(hex.trim_end_matches('L'), 16).unwrap()),
                None => json!(
                    digits
                        .trim_end_matches(['L', 'f', 'd'])
                        .parse::<f64>()
                        .map_err(|_| format!("{java} {all}"))?
                ),
            }
        }
        None => expected.clone(),
    };
    let same_number = got
        .as_f64()
        .zip(expected.as_f64())
        .is_some_and(|(a, b)| a == b);
    let as_text = match got {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            number.to_string().replace("e+", "E").replace('e', "E")
        }
        Value::Array(_) => got.to_string().replace('"', "").replace(',', ", "),
        Value::Object(_) => got
            .to_string()
            .replace('"', "")
            .replace(',', ", ")
            .replace(':', "="),
        other => other.to_string(),
    };
    if *got == expected || same_number || expected.as_str() == Some(as_text.as_str()) {
        Ok(())
    } else {
        Err(format!("want {expected} {all}"))
    }
}

fn uses_refused_type(expression: &str) -> bool {
    [
        "java.math.",
        "StringBuilder",
        "java.awt.",
        "java.util.List",
        "java.util.HashSet",
        "java.util.ArrayList",
    ]
    .iter()
    .any(|name| expression.contains(name))
}

#[test]
fn answers_springs_cases_that_need_no_fixture() {
    let Some(cases) = read("spring-spel-cases.json") else {
        println!("skipped: no corpus");
        return;
    };
    let cases: Vec<&Value> = cases
        .iter()
        .filter(|case| case["needsSpringTestRoot"] == false)
        .collect();
    assert_eq!(cases.len(), SPRING_CASES);
    let mut wrong = Vec::new();
    let mut refused = 0;
    for case in cases {
        if SPRING_LEFT_OUT.iter().any(|(n, _)| case["n"] == *n) {
            continue;
        }
        if uses_refused_type(case["expression"].as_str().unwrap()) && case["parseOnly"] != true {
            // What Orca forbids must fail, whatever Spring answers.
            refused += 1;
            let text = format!("${{{}}}", case["expression"].as_str().unwrap());
            let outcome = evaluate(
                &json!({ "v": text }),
                &Context::from_json(&json!({})),
                &Options::default(),
            );
            assert!(
                outcome
                    .failures
                    .iter()
                    .any(|failure| failure.level == Level::Error),
                "{text} is not refused"
            );
            continue;
        }
        if let Err(found) = spring_case(case) {
            wrong.push(format!(
                "s{} {}\n    {found} {}",
                case["n"], case["expression"], case["spelMessage"]
            ));
        }
    }
    for line in &wrong {
        println!("{line}");
    }
    assert!(wrong.is_empty(), "{} differ", wrong.len());
    assert_eq!(refused, SPRING_REFUSED);
}
