//! The readers of JSON, YAML, dates, formats and regular expressions take any text.
#![no_main]

use gennaker_expressions::{Context, Limits, Options, evaluate, evaluate_case_line};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    let context = Context::from_json(&json!({ "t": text }));
    let options = Options { limits: Limits { steps: 50_000, bytes: 1 << 20, ..Limits::default() }, ..Options::default() };
    let source = json!([
        "${#readJson(t)}", "${#readAllYaml(t)}", "${#fromBase64(t)}", "${t.split(t)}", "${t.replaceAll(t, t)}",
        "${T(String).format(t, 1, 2.5, 'x')}", "${new java.text.SimpleDateFormat(t).format(new java.util.Date(0))}",
        "${new java.text.SimpleDateFormat('yyyy-MM-dd HH:mm').parse(t)}", "${T(java.util.Date).parse(t)}",
        "${T(java.time.Instant).parse(t)}", "${T(java.time.LocalDateTime).parse(t)}", "${T(Double).parseDouble(t)}"
    ]);
    evaluate(&source, &context, &options);
    evaluate_case_line(text);
});
