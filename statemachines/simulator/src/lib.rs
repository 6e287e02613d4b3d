#![doc = include_str!("../README.md")]

mod expression;
mod machine;
mod outcome;
mod report;
mod stage;

use gennaker_domain::deployment::world::KnownClusters;
pub(crate) use gennaker_domain::window;
use gennaker_domain::{Plan, Problem};
use serde_json::Value;

/// Runs a compiled definition in virtual time.
///
/// - `outcomes`: `{"<refId>": {"status", "seconds", "outputs"}}`, the end of each stage's task before its failure policy;
///   see the crate's description for what is not given.
/// - `at_millis`: when it starts, UTC milliseconds.
/// - `trigger`: what expressions see as `trigger`; null for none.
///
/// The answer is `{"status","seconds","transitions","events","stages":[{"refId","type","status","started","ended"}],
/// "states":[…]}`; times are seconds from the start. The same input gives the same answer.
///
/// # Errors
/// `bad-outcomes` with the path into `outcomes`, or `bad-definition` where the definition is not one that the
/// compiler makes.
pub fn simulate(
    definition: &Value,
    plan: &Plan,
    outcomes: &Value,
    at_millis: i64,
    trigger: &Value,
) -> Result<Value, Vec<Problem>> {
    let world = KnownClusters::default();
    simulate_in(definition, plan, outcomes, at_millis, trigger, &world)
}

/// The same where only these clusters have server groups: sub-stages for an older server group that is not there are
/// SKIPPED.
///
/// # Errors
/// Those of [`simulate`].
pub fn simulate_in(
    definition: &Value,
    plan: &Plan,
    outcomes: &Value,
    at_millis: i64,
    trigger: &Value,
    world: &KnownClusters,
) -> Result<Value, Vec<Problem>> {
    let outcomes = outcome::Outcomes::read(outcomes)?;
    let skipped = world.skipped(plan);
    let stages = stage::Stages::new(plan, outcomes, skipped, at_millis, trigger);
    let run = machine::Machine::new(definition, stages)
        .run()
        .map_err(|problem| vec![*problem])?;
    Ok(report::report(plan, &run))
}
