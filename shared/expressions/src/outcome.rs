//! One evaluation: what goes in, what comes out.

use crate::{Ports, Templates};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The evaluator version of a pipeline (`spelEvaluator`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evaluator {
    /// The default of pipelines that name none or an unknown one: evaluates the whole pipeline once at its start.
    #[default]
    V3,
    /// Evaluates stages when they start, Evaluate Variables in sequence.
    V4,
}

impl Evaluator {
    /// The version that a pipeline's `spelEvaluator` names; anything but `v4` (in any case) is v3.
    pub fn of(text: &str) -> Evaluator {
        if text.eq_ignore_ascii_case("v4") {
            Evaluator::V4
        } else {
            Evaluator::V3
        }
    }
}

/// What is evaluated, and therefore how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Any value.
    #[default]
    Map,
    /// The configuration of the stage the context was built for.
    Stage,
    /// The context of an Evaluate Variables stage: under v4 its `variables` in sequence, nothing else.
    EvaluateVariables,
    /// A pipeline at its start; under v4 `stages` stays as it is.
    Pipeline,
}

/// Bounds of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps (nodes evaluated, elements visited) of one call of [`evaluate`](crate::evaluate).
    pub steps: u64,
    /// Bytes that texts and collections made by one call of [`evaluate`](crate::evaluate) may take.
    pub bytes: usize,
    /// Characters of one expression: Spinnaker's `expression.max-expression-length`.
    pub expression: usize,
}

impl Default for Limits {
    /// Two million steps (well under a second), 64 MiB, and the 10,000 characters that are Spring's default.
    fn default() -> Self {
        Limits {
            steps: 2_000_000,
            bytes: 64 << 20,
            expression: crate::parser::MAX_EXPRESSION_LENGTH,
        }
    }
}

/// How to evaluate.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The pipeline's evaluator version.
    pub evaluator: Evaluator,
    /// Whether an unknown key is null (as stages run) or an error (as pipelines start).
    pub allow_unknown_keys: bool,
    /// The time that `new java.util.Date()` and `Instant.now()` see, in milliseconds since 1970.
    pub now_millis: i64,
    /// The seed of `randomUUID()`, `Math.random()` and `new java.util.Random()`.
    pub seed: u64,
    /// What is evaluated.
    pub mode: Mode,
    /// The outside world; without it the functions that need it fail.
    pub ports: Option<&'a dyn Ports>,
    /// Templates parsed before, kept by a function that stays warm.
    pub templates: Option<&'a Templates>,
    /// If given, only texts at or below these JSON pointers of the source are evaluated: the others are final.
    pub only: Option<&'a BTreeSet<String>>,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            evaluator: Evaluator::V4,
            allow_unknown_keys: true,
            now_millis: 0,
            seed: 0,
            mode: Mode::Map,
            ports: None,
            templates: None,
            only: None,
            limits: Limits::default(),
        }
    }
}

/// How bad an unresolved expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The expression gave null.
    Info,
    /// The expression could not be parsed or evaluated.
    Error,
}

impl Level {
    /// Orca's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Info => "INFO",
            Level::Error => "ERROR",
        }
    }
}

/// An expression that was left as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// The key of Orca's evaluation summary.
    pub expression: String,
    /// How bad it is.
    pub level: Level,
    /// Orca's description.
    pub message: String,
    /// The same for the author of a pipeline: where, what was found, near names.
    pub explanation: String,
    /// JSON pointers into the outcome: texts that are left as they are, or parts of which are. The texts beside them
    /// are final; [`Options::only`] tries these again.
    pub places: Vec<String>,
}

/// What an evaluation gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The source with what could be resolved; the rest is verbatim.
    pub value: Value,
    /// JSON pointer to Java class, where JSON does not tell it; `…/key#key` gives the class of a key that is no text.
    pub types: BTreeMap<String, String>,
    /// What was left as it is, sorted by expression; equal ones once.
    pub failures: Vec<Failure>,
    /// Set if the evaluation as a whole was refused; `value` is then the source.
    pub throws: Option<String>,
}
