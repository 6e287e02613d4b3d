//! Any text is answered: problems, or a definition that is JSON and can be simulated.
#![no_main]

use gennaker_compiler::{Around, Options, compile_text, picture, plan_json};
use gennaker_simulator::simulate;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    match compile_text(text, &Options::default()) {
        Ok(compiled) => {
            assert!(compiled.definition.is_object());
            let around = Around::default();
            let _ = (plan_json(&compiled, &around), picture(&compiled, &around));
            simulate(&compiled.definition, &compiled.plan, &Value::Null, 0, &Value::Null)
                .expect("what the compiler makes can be simulated");
        }
        Err(problems) => assert!(problems.iter().any(|problem| problem.is_error())),
    }
});
