//! Pipelines that are saved and started by themselves, and what became of them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{System, file, pipeline};

impl System {
    /// Saves a pipeline.
    pub fn save(&self, config: &Value) {
        let answer = self.gennaker(&["pipeline", "save", file(config).to_str().unwrap(), "--json"]);
        assert_eq!(answer.status, 0, "{answer:#?}");
    }

    /// Executions of an application, newest first.
    #[must_use]
    pub fn of_application(&self, application: &str) -> Vec<Value> {
        let answer = self.gennaker(&["execution", "list", "--application", application, "--json"]);
        assert_eq!(answer.status, 0, "{answer:#?}");
        answer.summary().as_array().cloned().unwrap_or_default()
    }

    /// Executions of an application's pipeline, newest first.
    #[must_use]
    pub fn of_pipeline(&self, application: &str, name: &str) -> Vec<Value> {
        let mut all = self.of_application(application);
        all.retain(|execution| execution["name"] == name);
        all
    }

    /// An execution, as Spinnaker writes it.
    #[must_use]
    pub fn show(&self, id: &str) -> Value {
        let answer = self.gennaker(&["execution", "show", id, "--json"]);
        assert_eq!(answer.status, 0, "{answer:#?}");
        answer.summary().clone()
    }

    /// Starts `APP/NAME`; the execution's id.
    #[must_use]
    pub fn start_execution(&self, reference: &str, more: &[&str]) -> String {
        let mut arguments = vec!["execution", "start", reference, "--json"];
        arguments.extend(more);
        let answer = self.gennaker(&arguments);
        assert_eq!(answer.status, 0, "{answer:#?}");
        let id = &answer.summary()["executionId"];
        id.as_str().unwrap().to_owned()
    }

    /// The execution once it is over.
    #[must_use]
    pub fn ended(&self, id: &str) -> Value {
        until(&format!("the end of {id}"), || {
            let execution = self.show(id);
            let status = execution["status"].as_str().unwrap().to_owned();
            let over = !["NOT_STARTED", "RUNNING", "PAUSED"].contains(&status.as_str());
            over.then_some(execution)
        })
    }
}

/// Waits until something is so, a minute at most.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(what, 60, look)
}

/// Waits until something is so, so many seconds at most.
pub fn until_within<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..seconds * 5 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{what}: not within {seconds} seconds");
}

/// A stage of an execution.
#[must_use]
pub fn stage<'a>(execution: &'a Value, ref_id: &str) -> &'a Value {
    let stages = execution["stages"].as_array().unwrap();
    stages
        .iter()
        .find(|stage| stage["refId"] == ref_id)
        .unwrap_or_else(|| panic!("no stage `{ref_id}`: {execution:#}"))
}

/// Why a stage failed, as its exception tells.
#[must_use]
pub fn error(stage: &Value) -> String {
    let error = &stage["context"]["exception"]["details"]["error"];
    error.as_str().unwrap_or_default().to_owned()
}

/// A stage that waits.
#[must_use]
pub fn wait(ref_id: &str, after: &[&str], seconds: u32) -> Value {
    json!({ "refId": ref_id, "type": "wait", "name": format!("Wait {ref_id}"), "requisiteStageRefIds": after, "waitTime": seconds })
}

/// A stage that holds, or fails with a message.
#[must_use]
pub fn check(ref_id: &str, expression: &str) -> Value {
    json!({ "refId": ref_id, "type": "checkPreconditions", "name": "Check", "requisiteStageRefIds": [],
        "preconditions": [{ "type": "expression", "failPipeline": true,
            "context": { "expression": expression, "failureMessage": "the child says no" } }] })
}

/// A stage that runs the pipeline of this id.
#[must_use]
pub fn child(ref_id: &str, application: &str, id: &str, more: &Value) -> Value {
    let stage = json!({ "refId": ref_id, "type": "pipeline", "name": format!("Run {id}"), "requisiteStageRefIds": [],
        "application": application, "pipeline": id, "waitForCompletion": true });
    with(stage, more)
}

/// A pipeline with a name and an id.
#[must_use]
pub fn named(application: &str, name: &str, id: &str, stages: &[Value], more: &Value) -> Value {
    let named = with(
        pipeline(application, stages),
        &json!({ "name": name, "id": id }),
    );
    with(named, more)
}

/// The object with these fields as well.
#[must_use]
pub fn with(mut object: Value, more: &Value) -> Value {
    let fields = more.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(fields);
    object
}
