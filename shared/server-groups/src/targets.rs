//! The server group that a stage is about, in each of its regions.

use gennaker_cloud::auto_scaling::Group;
use gennaker_domain::Intent;
use gennaker_domain::deployment::naming;
use gennaker_domain::deployment::target::{self, Target};
use gennaker_lambda::{Invocation, StageError};
use serde_json::Value;

use crate::config::{Subject, own_intents, undo_text};
use crate::{Clouds, Place, clouds, config, observe};

/// The server group of one region.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is.
    pub place: Place,
    /// Its name, also when it is gone.
    pub name: String,
    /// The group as it is, or none where it is gone or being deleted; only a group that an earlier try began with can be.
    pub group: Option<Group>,
    /// What an earlier try announced about it.
    pub intent: Option<Intent>,
    /// All that earlier tries announced, in whichever region.
    pub announced: Vec<Intent>,
}

/// Finds the server group of each region: the one that an earlier try of this stage began with (its intents of this
/// kind say so), the one that the stage names, or what its `target` means now.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] with what there is where no group is found; [`StageError::Unsettled`] while the
/// list lacks a group that this execution has just created, because "the current one" would be another then.
pub async fn find(
    clouds: &dyn Clouds,
    invocation: &Invocation<'_>,
    kind: &str,
) -> Result<Vec<Found>, StageError> {
    let subject = Subject::of(invocation.context)?;
    let intents = own_intents(invocation).await?;
    let mut found = Vec::new();
    for region in &subject.regions {
        let place = clouds::place(clouds, invocation, &subject.account, region).await?;
        let begun = intents.iter().find(|intent| {
            intent.action.starts_with(kind) && undo_text(intent, "region") == region
        });
        if let Some(intent) = begun {
            let name = undo_text(intent, "serverGroup").to_owned();
            let group = observe::group(&place, &name).await?;
            found.push(Found {
                place,
                name,
                group,
                intent: Some(intent.clone()),
                announced: intents.clone(),
            });
            continue;
        }
        let groups = candidates(&place, &subject).await?;
        shows_what_was_made(invocation, &subject, &place, &groups)?;
        let name = chosen(invocation, &subject, &place, &groups)?;
        let group = groups.into_iter().find(|group| group.name == name);
        found.push(Found {
            place,
            name,
            group,
            intent: None,
            announced: intents.clone(),
        });
    }
    Ok(found)
}

/// The groups to choose from: the one that the stage names, or those of its cluster, which takes the list of a region.
async fn candidates(place: &Place, subject: &Subject) -> Result<Vec<Group>, StageError> {
    let named = subject.server_group.as_ref();
    let of_cluster =
        |name: &&String| naming::parse(name).cluster.as_deref() == Some(&subject.cluster);
    if let Some(name) = named.filter(of_cluster)
        && let Some(group) = observe::group(place, name).await?
    {
        return Ok(vec![group]);
    }
    Ok(observe::cluster_groups(place, &subject.cluster).await?)
}

/// Refuses to choose from a list that lacks what this execution made a moment ago. A stage that names another group
/// needs no more than that.
fn shows_what_was_made(
    invocation: &Invocation<'_>,
    subject: &Subject,
    place: &Place,
    groups: &[Group],
) -> Result<(), StageError> {
    let missing = config::just_deployed(invocation, &subject.account, &place.region)
        .into_iter()
        .filter(|name| naming::parse(name).cluster.as_deref() == Some(&subject.cluster))
        .filter(|name| {
            subject
                .server_group
                .as_ref()
                .is_none_or(|named| named == name)
        })
        .find(|name| !groups.iter().any(|group| group.name == *name));
    match missing {
        None => Ok(()),
        Some(name) => Err(StageError::Unsettled {
            reason: format!("server group `{name}` was just created and is not listed yet"),
        }),
    }
}

fn chosen(
    invocation: &Invocation<'_>,
    subject: &Subject,
    place: &Place,
    groups: &[Group],
) -> Result<String, StageError> {
    let observed = observe::without_health(place, groups);
    let asked = invocation.context.get("target").and_then(Value::as_str);
    let wrong = |error: target::TargetError| {
        StageError::invalid(
            if subject.server_group.is_some() {
                "serverGroupName"
            } else {
                "target"
            },
            format!("{error}, in cluster `{}` of {place:?}", subject.cluster),
        )
    };
    match (&subject.server_group, asked) {
        (Some(name), _) => target::named_server_group(name, &observed)
            .map(|group| group.name.clone())
            .map_err(wrong),
        (None, Some(asked)) if !asked.is_empty() => {
            let asked = Target::from_name(asked).map_err(wrong)?;
            target::target_server_group(asked, &observed)
                .map(|group| group.name.clone())
                .map_err(wrong)
        }
        (None, _) => Err(StageError::invalid(
            "target",
            "the stage names neither a `target` nor a `serverGroupName`",
        )),
    }
}
