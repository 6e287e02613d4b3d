//! A cluster's launch template: its name, tokens for its versions, and the end of those that nobody needs.

use gennaker_cloud::{CloudError, Ec2};
use gennaker_domain::Run;
use sha2::{Digest, Sha256};

use crate::Place;

/// A client token from what makes the call unique: the same try and its retry have the same.
#[must_use]
pub fn token(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    // 64 characters are the most that EC2 takes.
    hex::encode(hash.finalize())
}

/// By which the version that a stage makes for a server group is known again. The run too: a restart may have found another
/// image.
#[must_use]
pub fn description(run: &Run, stage: &str, group: &str) -> String {
    format!("{run} {stage} {group}")
}

/// Deletes the version of a cluster's launch template that has this description, if there is one and no server group
/// launches it: what an undo leaves nothing of. Again is the same.
///
/// # Errors
/// Those of Auto Scaling and EC2.
pub async fn remove_version(
    place: &Place,
    ec2: &dyn Ec2,
    cluster: &str,
    description: &str,
) -> Result<(), CloudError> {
    let Some(version) = ec2.template_version(&name(cluster), description).await? else {
        return Ok(());
    };
    let groups = place.auto_scaling.all_groups().await?;
    let launches = groups
        .iter()
        .find(|group| group.launch_template.as_ref() == Some(&version));
    let kept = match launches {
        Some(group) => format!("server group `{}` launches it", group.name),
        None if ec2.delete_template_version(&version).await? => return Ok(()),
        None => "it is the default version of a template with others".to_owned(),
    };
    tracing::info!(
        template = version.id,
        version = version.version,
        reason = kept,
        "the version of a launch template stays"
    );
    Ok(())
}

/// A launch template's name: 3 to 128 characters of a few kinds.
#[must_use]
pub fn name(cluster: &str) -> String {
    let safe: String = cluster
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "().-/_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(118)
        .collect();
    format!("gennaker-{safe}")
}
