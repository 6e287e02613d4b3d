//! Any text is a template or an error, and a pipeline that holds it can be checked.
#![no_main]

use gennaker_expressions::{Template, check};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    let _ = Template::parse(text);
    let _ = Template::parse(&format!("${{{text}}}"));
    let _ = check(&json!({"stages": [{"refId": "1", "type": "wait", "name": "w", "text": text}]}));
});
