//! The write-ahead log of what an execution changes in an account, and how it is undone.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One change that a stage is about to make, or has made.
///
/// It is written before the first mutating call and is *open* until its stage (for a deploy, the whole deploy)
/// completes; `finalize` undoes every open intent, newest first, done or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// `refId` of the stage.
    pub stage: String,
    /// What is done, such as `create-server-group`; unique in its stage (add the group's name where there are several).
    pub action: String,
    /// Function that did it and can undo it, such as `disable-server-group`.
    pub function: String,
    /// What the undo needs to know: names, the state before.
    pub undo: Value,
    /// When it was written, UTC milliseconds: the order of undoing.
    pub at: i64,
    /// Number of the run that wrote it.
    pub run: u32,
    /// The call took effect.
    #[serde(default)]
    pub done: bool,
    /// Nothing is left to undo: the stage completed, or the undo did its work.
    #[serde(default)]
    pub closed: bool,
    /// What the undo did, or why it could not: for the person who reads the end of the execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}
