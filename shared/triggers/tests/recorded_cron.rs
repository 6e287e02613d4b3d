//! Recorded answers of Quartz 2.5.2, of 2.3.2 where that is the rule, and of Echo's fuzzer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::path::PathBuf;

use gennaker_triggers::cron::{Cron, fuzzed, has_fuzz};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// The year in which the answers were recorded.
const YEAR: i16 = 2026;

fn corpus(name: &str) -> Option<String> {
    let base = std::env::var_os("GENNAKER_CORPUS").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/corpus"
            ))
        },
        PathBuf::from,
    );
    std::fs::read_to_string(base.join(name)).ok()
}

fn times(expression: &str, zone: &str, after: &str, count: usize) -> Result<Vec<String>, String> {
    let cron = Cron::parse(expression, YEAR).map_err(|error| error.to_string())?;
    let zone = TimeZone::get(zone).unwrap();
    let mut at: Timestamp = after.parse().unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        let Some(next) = cron.next(at, &zone) else {
            break;
        };
        found.push(next.to_string());
        at = next;
    }
    Ok(found)
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .map(|list| {
            list.iter()
                .map(|text| text.as_str().unwrap().to_owned())
                .collect()
        })
        .unwrap_or_default()
}

/// What we answer: 2.5.2's answer, but 2.3.2's days where `W` stands alone, and no expression whose field is empty.
fn expected(case: &Value) -> Option<Vec<String>> {
    if case.get("nextThrows").is_some() {
        return None;
    }
    let old = &case["quartz232"];
    let refused_as_empty = old["error"]
        .as_str()
        .is_some_and(|error| error.contains("NoSuchElementException"));
    if refused_as_empty || case["valid"] == false {
        return None;
    }
    if old["valid"] == true {
        return Some(strings(&old["next"]));
    }
    Some(strings(&case["next"]))
}

#[test]
fn answers_as_quartz_did() {
    let Some(text) = corpus("cron/quartz-reference.jsonl") else {
        eprintln!("skipped: no corpus");
        return;
    };
    let (mut equal, mut all) = (0, 0);
    let mut wrong = Vec::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        all += 1;
        let expression = case["expression"].as_str().unwrap();
        if let Some(id) = case["triggerId"].as_str() {
            let right = match case["fuzzed"].as_str() {
                None => fuzzed(id, expression).is_err(),
                Some(wanted) => {
                    fuzzed(id, expression).as_deref() == Ok(wanted)
                        && has_fuzz(expression).ok() == case["hasFuzz"].as_bool()
                        && Cron::parse(&fuzzed("temp", expression).unwrap(), YEAR).is_ok()
                            == case["validFuzzed"].as_bool().unwrap()
                }
            };
            if right {
                equal += 1;
            } else {
                wrong.push(format!("{}: {:?}", case, fuzzed(id, expression)));
            }
            continue;
        }
        let found = times(
            expression,
            case["timeZone"].as_str().unwrap(),
            case["after"].as_str().unwrap(),
            5,
        );
        if found.clone().ok() == expected(&case) {
            equal += 1;
        } else {
            wrong.push(format!(
                "{} `{expression}` {} after {}\n  found {found:?}\n  recorded {} {}\n  2.3.2 {}",
                case["id"],
                case["timeZone"],
                case["after"],
                case["valid"],
                case["next"],
                case["quartz232"]
            ));
        }
    }
    eprintln!("cron: {equal} of {all} recorded answers");
    assert!(all > 1000, "{all}");
    assert!(wrong.is_empty(), "{equal} of {all}\n{}", wrong.join("\n"));
}

#[test]
fn answers_as_the_tests_of_quartz_and_echo_say() {
    let Some(text) = corpus("cron/quartz-cases.json") else {
        eprintln!("skipped: no corpus");
        return;
    };
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    let mut all = 0;
    for case in document["referenceRuns"].as_array().unwrap() {
        // These runs were made with 2.3.2. Lists with `L` and what follows the year are 2.5.2's here.
        let fields: Vec<&str> = case["expression"]
            .as_str()
            .unwrap()
            .split_whitespace()
            .collect();
        if fields.len() > 7
            || fields.len() > 3 && fields[3].contains('L') && fields[3].contains(',')
        {
            continue;
        }
        all += 1;
        if case["kind"] == "reference-run-invalid" {
            if Cron::parse(case["expression"].as_str().unwrap(), YEAR).is_ok() {
                wrong.push(case.to_string());
            }
            continue;
        }
        let wanted: Vec<String> = case["expected"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|time| time.as_str().map(str::to_owned))
            .collect();
        let found = times(
            case["expression"].as_str().unwrap(),
            case["timeZone"].as_str().unwrap_or("UTC"),
            case["after"].as_str().unwrap(),
            wanted.len().max(1),
        );
        if found != Ok(wanted) {
            wrong.push(format!("{case} {found:?}"));
        }
    }
    for case in document["cases"].as_array().unwrap() {
        let Some(expression) = case["expression"].as_str() else {
            continue;
        };
        let cron = Cron::parse(expression, YEAR);
        let right = match case["kind"].as_str().unwrap() {
            "invalid" => cron.is_err(),
            "valid" => cron.is_ok(),
            "fuzz" => {
                fuzzed(case["triggerId"].as_str().unwrap(), expression)
                    .ok()
                    .as_deref()
                    == case["expected"].as_str()
            }
            "hasFuzz" => has_fuzz(expression).ok() == case["expected"].as_bool(),
            "nextFireTimes" => {
                let wanted = strings(&case["expected"]);
                let after = format!("{}Z", case["after"].as_str().unwrap());
                let found = times(expression, "UTC", &after, wanted.len()).unwrap_or_default();
                found
                    .iter()
                    .map(|time| time.trim_end_matches('Z'))
                    .eq(wanted.iter().map(String::as_str))
            }
            "isSatisfiedBy" => {
                let at: jiff::civil::DateTime = case["at"].as_str().unwrap().parse().unwrap();
                let zone = TimeZone::UTC;
                let at = zone.to_timestamp(at).unwrap();
                cron.map(|cron| cron.fires_at(at, &zone)).ok() == case["expected"].as_bool()
            }
            _ => continue,
        };
        all += 1;
        if !right {
            wrong.push(case.to_string());
        }
    }
    eprintln!(
        "cron: {} of {all} facts of tests and runs",
        all - wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
