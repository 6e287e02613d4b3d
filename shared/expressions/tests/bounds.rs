//! Hostile input: an error in bounded time and memory, never a panic.
#![allow(clippy::disallowed_methods)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use gennaker_expressions::{
    Context, Level, Limits, Options, Outcome, Template, check, evaluate, evaluate_case_line,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn outcome(text: &str) -> Outcome {
    let context = Context::from_json(
        &json!({"list": ["a", "b"], "map": {"a": 1}, "num": 42, "str": "hello"}),
    );
    let started = Instant::now();
    let outcome = evaluate(&json!({ "v": text }), &context, &Options::default());
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{} takes too long",
        &text[..text.len().min(60)]
    );
    outcome
}

fn fails(text: &str) {
    let outcome = outcome(text);
    assert_eq!(outcome.value["v"], text, "stays verbatim");
    assert_eq!(
        outcome.failures.first().map(|failure| failure.level),
        Some(Level::Error)
    );
}

#[test]
fn refuses_nesting_a_hundred_thousand_deep() {
    const DEEP: usize = 100_000;
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("{", "1", "}"),
        ("!", "true", ""),
        ("-", "1", ""),
        ("{a:", "1", "}"),
        ("list[", "0", "]"),
        ("true?1:", "1", ""),
        ("num?:", "1", ""),
        ("list.?[", "true", "]"),
        ("str.concat(", "'x'", ")"),
        ("new int[]{", "1", "}"),
        ("1+(", "1", ")"),
        ("!-", "1", ""),
        ("#toJson(", "1", ")"),
        ("++", "num", ""),
    ] {
        fails(&format!(
            "${{{}{middle}{}}}",
            open.repeat(DEEP),
            close.repeat(DEEP)
        ));
        outcome(&format!(
            "${{{}{middle}{}}}",
            open.repeat(900),
            close.repeat(900)
        ));
    }
}

#[test]
fn evaluates_the_deepest_nesting_that_parses_on_a_small_stack() {
    let work = || {
        for (open, middle, close) in [
            ("{", "1", "}"),
            ("1+(", "1", ")"),
            ("{0}.![", "1", "]"),
            ("true?1:", "1", ""),
            ("str.concat(", "'x'", ")"),
            ("#toInt(", "1", ")"),
            ("!(1==", "1", ")"),
        ] {
            let mut deepest = 0;
            for depth in (1..230).step_by(7) {
                let text = format!("${{{}{middle}{}}}", open.repeat(depth), close.repeat(depth));
                if Template::parse(&text).is_ok() {
                    deepest = depth;
                    outcome(&text);
                }
            }
            assert!(deepest >= 90, "{open} parses only {deepest} deep");
        }
    };
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn keeps_deep_values_from_the_stack() {
    // Every expression wraps the value of the one before.
    let source: Vec<Value> = (0..50_000).map(|_| json!("${(#x={#x}).size()}")).collect();
    let context = Context::from_json(&json!({}));
    let outcome = evaluate(&Value::Array(source), &context, &Options::default());
    assert_eq!(outcome.value[0], 1);
    let mut source: Vec<Value> = (0..5_000).map(|_| json!("${(#x={a:#x}).size()}")).collect();
    for text in [
        "${#x}",
        "${#x.toString()}",
        "${#toJson(#x)}",
        "x ${#x}",
        "${#x == #x}",
        "${#x.hashCode()}",
        "${{#x}.contains(#x)}",
    ] {
        source.push(json!(text));
    }
    let outcome = evaluate(&Value::Array(source), &context, &Options::default());
    assert_eq!(outcome.value[5_000], "${#x}", "too deep to store");
}

#[test]
fn survives_a_list_that_holds_itself() {
    let context = Context::from_json(&json!({"list": [1, 2], "map": {}}));
    let source = json!([
        "${list[0]=list}",
        "${list.toString()}",
        "${list}",
        "${#toJson(list)}",
        "x ${list}",
        "${map['m']=map}",
        "${map}",
        "${map.toString()}"
    ]);
    let outcome = evaluate(&source, &context, &Options::default());
    assert_eq!(outcome.value[1], "${list.toString()}");
    assert_eq!(outcome.value[6], "${map}");
}

#[test]
fn bounds_what_an_expression_makes() {
    fails("${'x'.repeat(2000000000)}");
    fails("${'x'.repeat(2000000000).repeat(2000000000)}");
    fails("${'x'.repeat(60000000)+'x'.repeat(60000000)}");
    fails("${T(String).format('%2000000000d', 1)}");
    fails("${T(String).format('%.2000000000f', 1.5)}");
    fails("${'a'.repeat(1000000).replaceAll('', 'b'.repeat(1000))}");
    fails("${'a'.repeat(1000000).replace('a', 'b'.repeat(1000))}");
    fails("${new int[2000000000]}");
    fails("${new int[100000][100000]}");
    fails("${99999999999999999999999999999999999999999999999999999999L}");
    fails(&format!("${{{}}}", "9".repeat(9_000)));
    fails("${'x'.indent(2000000000)}");
    fails("${#readJson('['.repeat(100000))}");
    fails("${#readYaml('['.repeat(100000))}");
    fails("${#readYaml('- '.repeat(100000))}");
    fails("${#readYaml('a: &a [x,x,x,x,x,x,x,x,x]')['b'].size()}");
}

#[test]
fn bounds_regular_expressions() {
    fails(
        "${'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'.matches('(?:(a|aa)(?!b\\1))+c')}",
    );
    outcome("${'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'.matches('(?=(a+)+$)(a|a)*\\1c\\1')}");
    fails("${'x'.matches('x{1000000}{1000000}')}");
    fails("${'x'.matches('(((((x{100}){100}){100}){100}){100})')}");
    fails(&format!("${{'x'.matches('{}')}}", "(".repeat(9_000)));
    // The engine answers these without going back.
    assert_eq!(
        outcome("${'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab' matches '(a+)+c'}").value["v"],
        false
    );
}

#[test]
fn takes_long_literals_within_their_bound() {
    let long = "x".repeat(1 << 20);
    fails(&format!("${{'{long}'}}"));
    assert_eq!(outcome(&format!("{long}$")).value["v"], format!("{long}$"));
    fails(&format!("{long} ${{num}}"));
}

#[test]
fn stops_after_its_steps() {
    let context = Context::from_json(&json!({"list": (0..1_000).collect::<Vec<_>>()}));
    let options = Options {
        limits: Limits {
            steps: 100_000,
            ..Limits::default()
        },
        ..Options::default()
    };
    let text = "${list.![#root.list.![#root.list.![1].size()]]}";
    let outcome = evaluate(&json!({ "v": text }), &context, &options);
    assert_eq!(outcome.value["v"], text);
    assert!(outcome.failures[0].message.contains("steps"));
}

const PIECES: [&str; 60] = [
    "${",
    "}",
    "'",
    "\"",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ",",
    ":",
    "?",
    "?:",
    "?.",
    "!",
    "!=",
    "==",
    "<",
    ">",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "#",
    "@",
    "&&",
    "||",
    " ",
    "list",
    "map",
    "num",
    "str",
    "nope",
    "trigger",
    "T(",
    "new ",
    "String",
    "null",
    "true",
    "1",
    "2.5",
    "3L",
    "0xFF",
    ".?[",
    ".![",
    ".^[",
    ".$[",
    "#this",
    "#root",
    "toString()",
    "size()",
    "substring(",
    "matches",
    "between",
    "instanceof",
    "é😀",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics_on_pieces_of_the_language(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..30)) {
        let text = format!("${{{}}}", pieces.concat());
        outcome(&text);
        outcome(&pieces.concat());
        check(&json!({"stages": [{"refId": "1", "type": "wait", "v": text}]}));
    }

    #[test]
    fn never_panics_on_any_text(text in any::<String>()) {
        outcome(&text);
        outcome(&format!("${{{text}}}"));
        outcome(&format!("${{#readYaml(#root['v{text}'])}}"));
        let context = Context::from_json(&json!({ "t": text }));
        let source = json!(["${#readYaml(t)}", "${#readJson(t)}", "${t.matches(t)}", "${t.split(t)}", "${t.replaceAll(t,t)}",
            "${T(String).format(t,1,2)}", "${new java.text.SimpleDateFormat(t).format(new java.util.Date(0))}",
            "${new java.text.SimpleDateFormat('yyyy').parse(t)}", "${T(java.util.Date).parse(t)}", "${T(java.time.Instant).parse(t)}",
            "${T(java.time.LocalDateTime).parse(t)}", "${T(java.util.UUID).fromString(t)}", "${#fromBase64(t)}", "${#toInt(t)}", "${#fromUrl(t)}"]);
        evaluate(&source, &context, &Options::default());
        evaluate_case_line(&text);
    }

    #[test]
    fn leaves_text_without_expressions_alone(text in "[^$]{0,200}") {
        let outcome = outcome(&text);
        prop_assert_eq!(&outcome.value["v"], &Value::String(text));
        prop_assert!(outcome.failures.is_empty());
    }

    #[test]
    fn adds_integers_as_java_does(a in any::<i32>(), b in any::<i32>()) {
        // The smallest int is no literal.
        prop_assume!(a > i32::MIN && b > i32::MIN);
        let outcome = outcome(&format!("${{({a}) + ({b})}}"));
        prop_assert_eq!(&outcome.value["v"], &json!(a.wrapping_add(b)));
    }

    #[test]
    fn reads_its_own_json(text in any::<String>(), number in any::<i64>()) {
        prop_assume!(!text.contains("${"));
        let value = json!({"t": text, "n": number, "l": [text, null, true]});
        let context = Context::from_json(&json!({ "v": value }));
        let outcome = evaluate(&json!("${#readJson(#toJson(v))}"), &context, &Options::default());
        prop_assert_eq!(outcome.value, value);
    }
}
