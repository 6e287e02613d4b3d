//! `targets`: target or name to server group.

use serde_json::{Map, Value, json};

use super::{CaseError, cluster, context_of, in_region, server_groups};
use crate::deployment::ServerGroup;
use crate::deployment::context;
use crate::deployment::target::{
    Target, TargetError, is_dynamic, named_server_group, target_server_group,
};

pub(super) fn answer(input: &Map<String, Value>) -> Result<Value, CaseError> {
    let context = context_of(input)?;
    let target = context::filled_text(context, "target");
    let mut answer = match resolve(context, &server_groups(input)?) {
        Ok(resolved) => json!({"resolved": resolved}),
        Err(error) => json!({"error": error}),
    };
    if let Some(answer) = answer.as_object_mut() {
        answer.insert(
            "dynamicallyBound".to_owned(),
            json!(target.as_deref().is_some_and(is_dynamic)),
        );
    }
    Ok(answer)
}

fn resolve(
    context: &Map<String, Value>,
    groups: &[ServerGroup],
) -> Result<Vec<[String; 2]>, String> {
    let account = context::filled_text(context, "credentials").unwrap_or_default();
    let cluster = cluster(context).unwrap_or_default();
    let groups: Vec<ServerGroup> = groups
        .iter()
        .filter(|group| group.account == account && group.cluster == cluster)
        .cloned()
        .collect();
    // A single region comes before a list here.
    let regions = match context::filled_text(context, "region") {
        Some(region) => vec![region],
        None => context::text_list(context, "regions").unwrap_or_default(),
    };
    let (target, name) = (
        context::filled_text(context, "target"),
        context::filled_text(context, "serverGroupName"),
    );
    regions
        .into_iter()
        .map(|region| {
            let here = in_region(&groups, &region);
            let (wanted, found) = match (&target, &name) {
                (Some(target), _) => {
                    (target, Target::from_name(target).and_then(|target| target_server_group(target, &here)))
                }
                (None, Some(name)) => (name, named_server_group(name, &here)),
                (None, None) => {
                    return Err("NotFoundException: TargetServerGroup.Params must have either target or serverGroupName".to_owned());
                }
            };
            match found {
                Ok(group) => Ok([region, group.name.clone()]),
                // The read service takes the first of an empty list there.
                Err(TargetError::NoServerGroup(Target::Oldest)) if !groups.is_empty() => Err("HTTP 500".to_owned()),
                Err(_) => Err(format!("NotFoundException: Unable to locate {wanted} in {account}/{region}/{cluster}")),
            }
        })
        .collect()
}
