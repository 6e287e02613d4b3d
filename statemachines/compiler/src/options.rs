//! What the caller decides.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::{built::BUILT, preconfigured::PreconfiguredWebhooks};

/// How to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Prefix of every function's name: `gennaker` gives `gennaker-wait:live`. Letters, digits and `-`, at most 20.
    pub prefix: String,
    /// Application, where the pipeline names none; wins over the pipeline's own.
    pub application: Option<String>,
    /// Functions that exist.
    pub built: BuiltFunctions,
    /// What the result is for.
    pub mode: Mode,
    /// Limits of a state machine.
    pub limits: Limits,
    /// Sub-stages that the caller gives stages, by `refId`, beside those that their types have.
    pub sub_stages: BTreeMap<String, SubStages>,
    /// Webhooks that the installation configures as stage types of their own.
    pub preconfigured: PreconfiguredWebhooks,
}

/// Sub-stages of one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubStages {
    /// Before the stage's own task: each inner list side by side, the lists one after the other.
    pub before: Vec<Vec<SubStage>>,
    /// After it, one after the other.
    pub after: Vec<SubStage>,
    /// When it failed, one after the other.
    pub on_failure: Vec<SubStage>,
}

/// One sub-stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubStage {
    /// Spinnaker's stage type.
    pub stage_type: String,
    /// What a person reads.
    pub name: String,
    /// Its own fields: a sub-stage has no others.
    pub context: Map<String, Value>,
    /// Its own sub-stages.
    pub sub_stages: SubStages,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "gennaker".to_owned(),
            application: None,
            built: BuiltFunctions::default(),
            mode: Mode::Compile,
            limits: Limits::default(),
            sub_stages: BTreeMap::new(),
            preconfigured: PreconfiguredWebhooks::new(),
        }
    }
}

/// What a compiled pipeline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To look at: a stage without a function in this release is a warning.
    Compile,
    /// To be saved or run: it is an error, and name and application are required.
    Save,
    /// To be played with outcomes that somebody tells: as to look at, and a stage of an unknown type fails when its
    /// turn comes, as in Spinnaker.
    Evaluate,
}

/// Names of the functions that exist, in kebab case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltFunctions(BTreeSet<String>);

impl BuiltFunctions {
    /// These functions.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// Whether the function exists.
    #[must_use]
    pub fn contains(&self, function: &str) -> bool {
        self.0.contains(function)
    }
}

impl Default for BuiltFunctions {
    fn default() -> Self {
        Self::new(BUILT.iter().copied())
    }
}

/// What Step Functions allows, and how far we go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a definition: AWS takes 1,048,576; the rest is room for what saving adds.
    pub definition_bytes: usize,
    /// Worst-case history events above which a pipeline is refused: AWS ends an execution at 25,000.
    pub events: u64,
    /// Worst-case history events above which its author is warned.
    pub events_warned: u64,
    /// Stages: with the smallest Task there is, more cannot fit into a definition.
    pub stages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            definition_bytes: 1_000_000,
            events: 20_000,
            events_warned: 10_000,
            stages: 2_000,
        }
    }
}
