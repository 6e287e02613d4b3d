//! The language by tables of plain values.
#![allow(clippy::disallowed_methods)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use gennaker_expressions::{
    Context, Evaluator, Level, Mode, Options, Ports, Severity, Template, Templates, check, evaluate,
};
use serde_json::{Value, json};

fn context() -> Context {
    Context::from_json(&json!({
        "name": "shop", "count": 3, "price": 2.5, "big": 5_000_000_000_i64, "on": true, "nothing": null,
        "tags": ["x", "y", "z"], "labels": {"app": "shop", "tier": "web"}, "tag": "v1.2.3",
        "people": [{"n": "Ann", "a": 30}, {"n": "Bob", "a": 20}]
    }))
}

fn value(text: &str) -> Value {
    let outcome = evaluate(&json!({ "v": text }), &context(), &Options::default());
    assert!(
        outcome.failures.is_empty(),
        "{text}: {:?}",
        outcome.failures
    );
    outcome.value["v"].clone()
}

fn table(cases: &[(&str, Value)]) {
    for (text, expected) in cases {
        assert_eq!(value(text), *expected, "{text}");
    }
}

#[test]
fn keeps_the_type_of_a_whole_value_and_makes_text_of_a_part() {
    table(&[
        ("${count}", json!(3)),
        ("${tags}", json!(["x", "y", "z"])),
        ("${labels}", json!({"app": "shop", "tier": "web"})),
        ("n=${count}", json!("n=3")),
        ("t=${tags}", json!("t=x,y,z")),
        ("$${count}", json!("$3")),
        ("${'a'}${'b'}", json!("ab")),
    ]);
}

#[test]
fn counts_as_java_does() {
    table(&[
        ("${2147483647 + 1}", json!(-2_147_483_648_i64)),
        ("${7 / 2}", json!(3)),
        ("${-7 / 2}", json!(-3)),
        ("${-7 % 3}", json!(-1)),
        ("${7 / 2.0}", json!(3.5)),
        ("${1.0 / 0}", json!("Infinity")),
        ("${2 ^ 10}", json!(1024)),
        ("${2 ^ -1}", json!(0)),
        ("${big + 1}", json!(5_000_000_001_i64)),
        ("${'' + 1.0E10}", json!("1.0E10")),
        ("${'' + 0.0001}", json!("1.0E-4")),
        ("${'' + 100.0f}", json!("100.0")),
        (
            "${T(Math).max(1, 2) + T(Integer).parseInt('40')}",
            json!(42),
        ),
        ("${T(Math).round(2.5)}", json!(3)),
        ("${T(Math).floorMod(-7, 3)}", json!(2)),
    ]);
}

#[test]
fn compares_and_chooses() {
    table(&[
        ("${count > 2 and on}", json!(true)),
        ("${not on || count between {1, 5}}", json!(true)),
        ("${1 == '1'}", json!(false)),
        ("${1 == 1.0}", json!(true)),
        ("${nothing < 1}", json!(true)),
        ("${name matches 's.*p'}", json!(true)),
        ("${name instanceof T(String)}", json!(true)),
        ("${nothing ?: 'default'}", json!("default")),
        ("${'' ?: 'default'}", json!("default")),
        ("${count > 2 ? 'many' : 'few'}", json!("many")),
        ("${nope?.x ?: 'safe'}", json!("safe")),
    ]);
}

#[test]
fn selects_and_projects() {
    table(&[
        ("${people.?[a > 25].![n]}", json!(["Ann"])),
        ("${people.^[a > 10].n}", json!("Ann")),
        ("${people.$[a > 10].n}", json!("Bob")),
        ("${tags.![#this + '!']}", json!(["x!", "y!", "z!"])),
        ("${ {1, 2, 3}.?[#this > 1].size()}", json!(2)),
        (
            "${labels.?[true].toString()}",
            json!("{app=shop, tier=web}"),
        ),
        (
            "${ {z: 1, y: 2, x: 3}.?[true].toString()}",
            json!("{x=3, y=2, z=1}"),
        ),
    ]);
}

#[test]
fn calls_the_methods_of_text() {
    table(&[
        ("${tag.substring(1).split('\\.')[0]}", json!("1")),
        ("${'a,b,,'.split(',').length}", json!(2)),
        ("${'Grüße 😀'.length()}", json!(8)),
        ("${'abc'.replaceAll('(b)', '[$1]')}", json!("a[b]c")),
        (
            "${T(String).format('%05d|%-4s|%.2f|%x|%,d', 42, 'a', 2.345, 255, 1234567)}",
            json!("00042|a   |2.35|ff|1,234,567"),
        ),
        ("${T(String).join('-', tags)}", json!("x-y-z")),
        ("${name.length}", json!(4)),
        ("${'  a '.strip()}", json!("a")),
    ]);
}

#[test]
fn tells_dates_as_java_does() {
    table(&[
        (
            "${new java.util.Date(0).toString()}",
            json!("Thu Jan 01 00:00:00 UTC 1970"),
        ),
        (
            "${new java.text.SimpleDateFormat('yyyy-MM-dd EEE DDD').format(new java.util.Date(951782400000L))}",
            json!("2000-02-29 Tue 060"),
        ),
        (
            "${new java.text.SimpleDateFormat('dd/MM/yyyy HH:mm').parse('29/02/2024 13:05').time}",
            json!(1_709_211_900_000_i64),
        ),
        (
            "${T(java.time.LocalDate).parse('2024-01-31').plusMonths(1).toString()}",
            json!("2024-02-29"),
        ),
        (
            "${T(java.time.Instant).parse('2024-02-29T13:05:09.007Z').toEpochMilli()}",
            json!(1_709_211_909_007_i64),
        ),
        (
            "${new java.util.UUID(0L, 1L).toString()}",
            json!("00000000-0000-0000-0000-000000000001"),
        ),
        ("${new java.util.Random(42).nextInt(10)}", json!(0)),
    ]);
}

#[test]
fn takes_time_and_chance_from_its_caller() {
    let source = json!([
        "${new java.util.Date().getTime()}",
        "${T(java.time.Instant).now().toString()}",
        "${T(java.util.UUID).randomUUID().toString()}"
    ]);
    let run = |now_millis, seed| {
        evaluate(
            &source,
            &context(),
            &Options {
                now_millis,
                seed,
                ..Options::default()
            },
        )
        .value
    };
    assert_eq!(run(1_700_000_000_000, 1)[0], 1_700_000_000_000_i64);
    assert_eq!(run(1_700_000_000_000, 1)[1], "2023-11-14T22:13:20Z");
    assert_eq!(run(0, 1), run(0, 1));
    assert_ne!(run(0, 1)[2], run(0, 2)[2]);
}

#[test]
fn leaves_what_fails_verbatim_and_says_why() {
    let source = json!({"a": "${nope}", "b": "${1/0}", "c": "x ${nope} ${count}", "d": "${labels.tiers}", "e": "${1 +}"});
    let outcome = evaluate(&source, &context(), &Options::default());
    assert_eq!(outcome.value["a"], "${nope}");
    assert_eq!(outcome.value["b"], "${1/0}");
    assert_eq!(outcome.value["c"], "x ${nope} 3");
    let told: Vec<_> = outcome
        .failures
        .iter()
        .map(|failure| (failure.expression.as_str(), failure.level))
        .collect();
    assert_eq!(
        told,
        [
            ("1 +", Level::Error),
            ("1/0", Level::Error),
            ("labels.tiers", Level::Info),
            ("nope", Level::Info),
            ("x nope count", Level::Info)
        ]
    );
    assert!(
        outcome.failures[2].explanation.contains("there is `tier`"),
        "{}",
        outcome.failures[2].explanation
    );
    assert_eq!(
        outcome.failures[2].explanation,
        "$.d: no `tiers` in `labels`; there is `tier`"
    );
    assert_eq!(outcome.failures[3].explanation, "$.a: no `nope` here");
    let outcome = evaluate(
        &json!({"v": ["${labels.teir.x}", "${nothing}"]}),
        &context(),
        &Options::default(),
    );
    assert!(
        outcome.failures[0].explanation.contains("`teir` is null"),
        "{:?}",
        outcome.failures
    );
    assert_eq!(
        outcome.failures[1].explanation,
        "$.v[1]: `nothing` here is null"
    );
}

#[test]
fn never_evaluates_what_an_expression_gave() {
    let context = Context::from_json(&json!({"evil": "${T(Math).abs(-1)}", "open": "${"}));
    let source = json!(["${evil}", "a ${evil}", "${open + '1+1}'}"]);
    let outcome = evaluate(&source, &context, &Options::default());
    assert_eq!(
        outcome.value,
        json!(["${T(Math).abs(-1)}", "a ${T(Math).abs(-1)}", "${1+1}"])
    );
    assert!(outcome.failures.is_empty());
}

#[test]
fn keeps_assignments_for_the_rest_of_one_call_only() {
    let context = context();
    let source = json!([
        "${count = 5}",
        "${count}",
        "${tags.add('w')}",
        "${tags.size()}",
        "${labels['new'] = 1}",
        "${labels.new}",
        "${count++}",
        "${count}"
    ]);
    let first = evaluate(&source, &context, &Options::default());
    assert_eq!(first.value, json!([5, 5, true, 4, 1, 1, 5, 6]));
    let again = evaluate(
        &json!(["${count}", "${tags.size()}"]),
        &context,
        &Options::default(),
    );
    assert_eq!(again.value, json!([3, 3]));
}

#[test]
fn refuses_what_the_original_refuses() {
    for text in [
        "${T(java.lang.Runtime).getRuntime()}",
        "${''.getClass()}",
        "${tags.get(0)}",
        "${T(Integer).MAX_VALUE}",
        "${labels.![key]}",
        "${new java.lang.ProcessBuilder('id')}",
        "${T(String).forName('x')}",
        "${#fromUrl('http://169.254.169.254/latest')}",
        "${#fromUrl('http://metadata.internal/')}",
        "${#fromUrl('file:///etc/passwd')}",
        "${#fromUrl('http://0x7f000001/')}",
        "${#fromUrl('http://user@[::1]/')}",
    ] {
        let outcome = evaluate(
            &json!([text]),
            &context(),
            &Options {
                ports: Some(&Everything),
                ..Options::default()
            },
        );
        assert_eq!(outcome.value[0], text);
        assert_eq!(outcome.failures[0].level, Level::Error, "{text}");
    }
}

/// A port that answers whatever is asked.
struct Everything;

impl Ports for Everything {
    fn fetch(&self, _: &str) -> Result<String, String> {
        Ok("{\"a\": 1}".to_string())
    }

    fn pipeline_id(&self, application: &str, name: &str) -> Result<Option<String>, String> {
        Ok((name != "missing").then(|| format!("{application}/{name}")))
    }

    fn application(&self, application: &str) -> Result<Value, String> {
        Ok(json!({ "name": application }))
    }

    fn canary_config_id(&self, _: &str, _: &str) -> Result<Option<String>, String> {
        Err("the store is away".to_string())
    }

    fn fetch_reference(&self, _: &str) -> Result<String, String> {
        Ok("aGk=".to_string())
    }
}

fn execution() -> Value {
    json!({
        "type": "PIPELINE", "id": "E1", "application": "shop", "name": "deploy", "status": "RUNNING",
        "authentication": {"user": "ann@example.com"},
        "trigger": {"type": "manual", "parameters": {"env": "prod"}},
        "stages": [
            {"id": "a", "refId": "1", "type": "bake", "name": "Bake", "status": "SUCCEEDED", "requisiteStageRefIds": [],
             "context": {"ami": "ami-1"}, "outputs": {"image": "ami-1", "near": "bake"}},
            {"id": "b", "refId": "2", "type": "wait", "name": "Wait", "status": "SUCCEEDED", "requisiteStageRefIds": ["1"],
             "context": {}, "outputs": {"near": "wait"}},
            {"id": "c", "refId": "3", "type": "deploy", "name": "Deploy", "status": "RUNNING", "requisiteStageRefIds": ["2"],
             "context": {"own": "mine"}, "outputs": {}}
        ]
    })
}

#[test]
fn builds_the_root_of_a_stage_as_orca_does() {
    let context = Context::from_execution(&execution(), Some("3"), None);
    let source = json!([
        "${own}",
        "${image}",
        "${near}",
        "${parameters.env}",
        "${execution.id}",
        "${#stage('Bake').context.ami}",
        "${#stage('Bake').status}",
        "${#currentStage().name}",
        "${#currentUser()}",
        "${#stageExists('Nope')}",
        "${execution.stages.?[type == 'wait'][0].name}",
        "${#pipelineId('other')}",
        "${#applicationMetadata('shop').name}",
        "${#jsonFromUrl('https://example.com/x').a}",
        "${#pipelineIdOrNull('missing')}",
        "${#fetchReference('ref://x')}"
    ]);
    let outcome = evaluate(
        &source,
        &context,
        &Options {
            ports: Some(&Everything),
            ..Options::default()
        },
    );
    assert_eq!(
        outcome.value,
        json!([
            "mine",
            "ami-1",
            "wait",
            "prod",
            "E1",
            "ami-1",
            "SUCCEEDED",
            "Deploy",
            "ann@example.com",
            false,
            "Wait",
            "shop/other",
            "shop",
            1,
            "${#pipelineIdOrNull('missing')}",
            "aGk="
        ])
    );
}

#[test]
fn evaluates_variables_in_sequence_under_v4() {
    let context = Context::from_execution(&execution(), Some("3"), None);
    let source = json!({"variables": [{"key": "a", "value": "${1 + 1}"}, {"key": "b", "value": "${a * 2}"}, {"key": "c", "value": "${nope}"}]});
    let options = Options {
        mode: Mode::EvaluateVariables,
        evaluator: Evaluator::V4,
        ..Options::default()
    };
    let outcome = evaluate(&source, &context, &options);
    assert_eq!(
        outcome.value["variables"][1],
        json!({"key": "b", "value": 4, "sourceValue": "{a * 2}"})
    );
    assert_eq!(outcome.value["variables"][2]["value"], "${nope}");
}

#[test]
fn leaves_the_stages_of_a_v4_pipeline_alone() {
    let source = json!({"name": "${name}", "stages": ["${name}"]});
    for (evaluator, stages) in [
        (Evaluator::V4, json!(["${name}"])),
        (Evaluator::V3, json!(["shop"])),
    ] {
        let outcome = evaluate(
            &source,
            &context(),
            &Options {
                mode: Mode::Pipeline,
                evaluator,
                ..Options::default()
            },
        );
        assert_eq!(outcome.value, json!({"name": "shop", "stages": stages}));
    }
}

#[test]
fn keeps_templates_between_calls() {
    let templates = Templates::new();
    let first = templates.parse("${name}").unwrap();
    assert!(std::sync::Arc::ptr_eq(
        &first,
        &templates.parse("${name}").unwrap()
    ));
    assert!(templates.parse("${").is_err());
    assert_eq!(
        first.evaluate(&context(), &Options::default()),
        Some(json!("shop"))
    );
    assert_eq!(
        Template::parse("a ${b} c ${d}")
            .unwrap()
            .expressions()
            .collect::<Vec<_>>(),
        ["b", "d"]
    );
}

#[test]
fn reports_what_cannot_work_before_a_pipeline_runs() {
    let pipeline = json!({
        "parameterConfig": [{"name": "env"}],
        "stages": [
            {"refId": "1", "type": "bake", "name": "Bake", "package": "${parameters.envv}", "a": "${#stge('Bake')}", "b": "${T(java.io.File)}"},
            {"refId": "2", "type": "deploy", "name": "Deploy", "x": "${tags.get(0)}", "y": "${'a'.substrin(1)}", "z": "${1 +}",
             "w": "${#stage('Bakee').status}", "v": "${parameters.env ?: 'x'}", "u": "${tagg}", "t": "${#toInt()}",
             "stageEnabled": {"type": "expression", "expression": "parameters.env =="}}
        ]
    });
    let found: Vec<_> = check(&pipeline)
        .into_iter()
        .map(|p| (p.code, p.path, p.ref_id.unwrap(), p.severity, p.hint))
        .collect();
    let codes: Vec<&str> = found.iter().map(|(code, ..)| *code).collect();
    for code in [
        "unknown-parameter",
        "unknown-function",
        "forbidden-type",
        "forbidden-call",
        "unknown-method",
        "expression-syntax",
        "unknown-stage",
        "unknown-name",
        "wrong-arguments",
    ] {
        assert!(codes.contains(&code), "{code} in {found:?}");
    }
    let (_, path, ref_id, severity, hint) = &found[0];
    assert_eq!(
        (path.as_str(), ref_id.as_str(), *severity),
        ("$.stages[0].package", "1", Severity::Warning)
    );
    assert_eq!(hint.as_deref(), Some("did you mean `env`?"));
    assert!(
        found
            .iter()
            .any(|(_, path, ..)| path == "$.stages[1].stageEnabled.expression")
    );
    assert!(
        check(
            &json!({"stages": [{"refId": "1", "type": "wait", "name": "W", "v": "${trigger.tag}"}]})
        )
        .is_empty()
    );
}
