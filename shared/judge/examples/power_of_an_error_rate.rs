//! What a canary can see of an error rate of 2 % at 3 requests/s, one point a minute: the sentence in the README.
//! Run: `cargo run --release -p gennaker-judge --example power_of_an_error_rate`.
#![allow(clippy::unwrap_used, missing_docs)]

use gennaker_judge::noise::JavaRandom;
use gennaker_judge::power_values;
use serde_json::json;

fn main() {
    let mut random = JavaRandom::new(5);
    let history: Vec<f64> = (0..720)
        .map(|_| {
            let errors = (0..180).filter(|_| random.next_double() < 0.02).count();
            errors as f64 / 180.0
        })
        .collect();
    let config = json!({
        "metrics": [{ "name": "error rate", "groups": ["g"],
                      "analysisConfigurations": { "canary": { "direction": "increase" } } }],
        "classifier": { "groupWeights": { "g": 100 } },
    });
    let history = json!({
        "minutes": 10, "effect": 0.5, "metrics": [{ "name": "error rate", "values": history }],
    });
    println!("{:#}", power_values(&config, &history).unwrap());
}
