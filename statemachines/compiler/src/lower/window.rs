//! The sub-stage that holds a stage back until its execution window opens.

use gennaker_domain::Problem;
use serde_json::{Map, Value};

use super::Spec;
use crate::{options::Options, parse::Stage, validate::not_built};

const TYPE: &str = "restrictExecutionDuringTimeWindow";

/// The sub-stage that comes before all others of a stage with an execution window.
pub(super) fn before(
    stage: &Stage,
    options: &Options,
    problems: &mut Vec<Problem>,
) -> Option<Spec> {
    let restricted = stage.context.get(TYPE) == Some(&Value::Bool(true));
    if !restricted || stage.stage_type == TYPE {
        return None;
    }
    let mut context = Map::new();
    for field in ["restrictedExecutionWindow", "skipWindowText"] {
        if let Some(value) = stage.context.get(field) {
            context.insert(field.to_owned(), value.clone());
        }
    }
    not_built(
        "restrict-execution-during-time-window",
        stage,
        options,
        problems,
    );
    Some(Spec::of(TYPE, TYPE, context))
}
