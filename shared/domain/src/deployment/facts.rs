//! What the stages of a running deployment know of it: read from the records of the stage that creates the server
//! group, for the sub-stages around it.

use serde_json::{Map, Value};

use super::context;
use super::strategy::{Condition, Facts, Fill, SourceGroup, SubStage};
use crate::rollup::Records;
use crate::{Owner, Plan, PlanStage, Status};

/// The stage types that create a server group.
const CREATES: [&str; 3] = ["createServerGroup", "cloneServerGroup", "copyLastAsg"];

/// The stage that creates the group which `ref_id` is a sub-stage of, the nearest one.
#[must_use]
pub fn creating_stage<'a>(plan: &'a Plan, ref_id: &str) -> Option<&'a PlanStage> {
    plan.lineage(ref_id)
        .into_iter()
        .skip(1)
        .find(|stage| CREATES.contains(&stage.stage_type.as_str()))
}

/// What is known of the deployment that `ref_id` is a sub-stage of; none for a stage outside of any.
///
/// The source is what the creating stage answered, or, while it is still at work or has failed, what it remembers. The
/// new group counts as deployed once it was created, healthy or not.
#[must_use]
pub fn facts(plan: &Plan, records: &Records, ref_id: &str, execution_id: &str) -> Option<Facts> {
    let stage = creating_stage(plan, ref_id)?;
    let empty = Map::new();
    let record = records.get(&stage.ref_id);
    let own = record
        .map(|record| &record.context)
        .filter(|context| !context.is_empty())
        .unwrap_or(&stage.context);
    let said = |key: &str| {
        record.and_then(|record| record.outputs.get(key).or_else(|| record.memory.get(key)))
    };
    let region = context::filled_text(own, "region").or_else(|| {
        context::object(own, "availabilityZones").and_then(|zones| zones.keys().next().cloned())
    });
    let source = said("source").and_then(Value::as_object).unwrap_or(&empty);
    let source = context::filled_text(source, "serverGroupName")
        .or_else(|| context::filled_text(source, "asgName"))
        .map(|name| SourceGroup {
            account: context::filled_text(source, "account").unwrap_or_default(),
            region: context::filled_text(source, "region")
                .or_else(|| region.clone())
                .unwrap_or_default(),
            name,
        });
    let deployed = said("deploy.server.groups")
        .and_then(Value::as_object)
        .and_then(|regions| match &region {
            Some(region) => regions.get(region),
            None => regions.values().next(),
        })
        .and_then(Value::as_array)
        .and_then(|names| names.first()?.as_str())
        .map(str::to_owned);
    Some(Facts {
        source,
        deployed,
        create_failed: record.is_some_and(|record| record.task_status == Some(Status::Terminal)),
        approved: approved(plan, records, ref_id),
        health_providers: context::text_list(own, "interestingHealthProviderNames"),
        saved_capacity: own
            .get("savedCapacity")
            .filter(|saved| !saved.is_null())
            .cloned(),
        execution_id: execution_id.to_owned(),
        stage_id: stage.ref_id.clone(),
    })
}

/// Whether the judgment before this on-failure stage was answered with "continue".
fn approved(plan: &Plan, records: &Records, ref_id: &str) -> bool {
    let Some(parent) = plan.stage(ref_id).and_then(|stage| stage.parent.as_deref()) else {
        return false;
    };
    plan.children(parent)
        .filter(|child| child.owner == Some(Owner::OnFailure))
        .take_while(|child| child.ref_id != ref_id)
        .filter(|child| child.stage_type == "manualJudgment")
        .any(|child| {
            records
                .get(&child.ref_id)
                .is_some_and(|record| record.status == Status::Succeeded)
        })
}

/// The context of a sub-stage with what is known only when it runs.
///
/// # Errors
/// The condition for which it is skipped.
pub fn completed(
    context: &Map<String, Value>,
    only_if: &[Condition],
    fills: &[Fill],
    facts: &Facts,
) -> Result<Map<String, Value>, Condition> {
    SubStage {
        type_: String::new(),
        name: String::new(),
        context: context.clone(),
        only_if: only_if.to_vec(),
        fills: fills.to_vec(),
        continue_on_failure: false,
    }
    .resolved(facts)
    .map(|stage| stage.context)
}
