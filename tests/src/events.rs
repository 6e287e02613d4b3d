//! Events from outside, as they would arrive.

use std::time::{Duration, Instant};

use gennaker_local::PublicAnswer;
use serde_json::{Value, json};

use crate::executions::{named, until, wait};
use crate::{System, file};

/// How long the public API may take here, where a function may have to start first on a busy machine.
const ANSWERED: Duration = Duration::from_secs(25);

/// How long after an execution another one of the same event would have started.
const SETTLED: Duration = Duration::from_secs(3);

impl System {
    /// Saves a pipeline `release` that waits a moment, heard by one trigger. Every test has an application of its own.
    pub fn save_heard(&self, application: &str, trigger: &Value) {
        let mut trigger = trigger.clone();
        trigger["enabled"] = json!(true);
        let id = format!("{application}-release");
        let triggers = json!({ "triggers": [trigger] });
        let stages = [wait("1", &[], 1)];
        self.save(&named(application, "release", &id, &stages, &triggers));
    }

    /// Sends an event so often; what the command printed.
    #[must_use]
    pub fn send(&self, event: &Value, times: u32) -> Vec<Value> {
        let times = times.to_string();
        let event = file(event);
        let event = event.to_str().unwrap();
        let answer = self.gennaker(&["local", "event", event, "--times", &times, "--json"]);
        assert_eq!(answer.status, 0, "{answer:#?}");
        answer.lines
    }

    /// Posts to the public API, which answers within bounded time.
    #[must_use]
    // That it answers at all within a bound is what is asked here.
    #[allow(clippy::disallowed_methods)]
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> PublicAnswer {
        let address = self.cloud.state().more["publicAddress"].clone();
        let url = format!("{}{path}", address.as_str().unwrap());
        let began = Instant::now();
        let answer = self.cloud.request("POST", &url, headers, body).unwrap();
        let took = began.elapsed();
        assert!(took < ANSWERED, "{path}: {took:?}");
        answer
    }

    /// The one execution of a pipeline: it is there within a minute, and is the only one a while later.
    #[must_use]
    pub fn the_one(&self, application: &str, name: &str) -> Value {
        let what = format!("an execution of `{application}/{name}`");
        until(&what, || {
            (!self.of_pipeline(application, name).is_empty()).then_some(())
        });
        std::thread::sleep(SETTLED);
        let found = self.of_pipeline(application, name);
        assert_eq!(found.len(), 1, "{found:#?}");
        self.show(found[0]["id"].as_str().unwrap())
    }
}
