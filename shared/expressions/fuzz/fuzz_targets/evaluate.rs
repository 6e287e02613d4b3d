//! Any expression gives the same outcome twice, within its bounds.
#![no_main]

use gennaker_expressions::{Context, Limits, Options, evaluate};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    let execution = json!({
        "id": "e", "type": "PIPELINE", "application": "a", "trigger": {"type": "manual", "parameters": {"p": "v"}},
        "stages": [
            {"id": "1", "refId": "1", "type": "bake", "name": "Bake", "status": "SUCCEEDED", "context": {"l": [1, 2]}, "outputs": {"o": 1}},
            {"id": "2", "refId": "2", "type": "wait", "name": "Now", "status": "RUNNING", "requisiteStageRefIds": ["1"],
             "context": {"num": 42, "str": "hello", "list": ["a", {"k": 1.5}], "map": {"a": null}}}
        ]
    });
    let context = Context::from_execution(&execution, Some("2"), None);
    let options = Options { limits: Limits { steps: 50_000, bytes: 1 << 20, ..Limits::default() }, ..Options::default() };
    let source = json!({"v": format!("${{{text}}}"), "t": text});
    let first = evaluate(&source, &context, &options);
    assert_eq!(first, evaluate(&source, &context, &options));
});
