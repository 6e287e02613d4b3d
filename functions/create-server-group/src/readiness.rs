//! Whether a deployment could go back, looked at before anything is made and again before the old server group is
//! touched: the sub-stages that follow this stage disable, shrink and destroy.

use gennaker_cloud::Ec2;
use gennaker_cloud::auto_scaling::Group;
use gennaker_cloud::ec2::{ImageRef, LaunchData};
use gennaker_domain::Owner;
use gennaker_domain::deployment::rollback_readiness::{
    Cores, Lack, WayBack, WhenNotReady, lacks, quota_of,
};
use gennaker_lambda::{Invocation, StageError};
use gennaker_server_groups::{Place, observe};

/// Functions after which the old server group serves no more, or less.
const TAKING_AWAY: [&str; 6] = [
    "destroy-server-group",
    "disable-cluster",
    "disable-server-group",
    "resize-server-group",
    "scale-down-cluster",
    "shrink-cluster",
];

/// What is deployed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deployed<'a> {
    /// The server group that it takes over from.
    pub(crate) source: Option<&'a str>,
    /// What its instances are, where all of them are of one type and on demand.
    pub(crate) instance_type: Option<&'a str>,
    /// How many of them.
    pub(crate) size: u32,
}

/// What the way back to `source` lacks, as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Nothing, or nobody wants to know.
    Ready,
    /// Something: the deployment goes on, and says so.
    Warned(String),
    /// Something: the deployment stops.
    Refused(String),
}

/// Whether sub-stages of the strategy take capacity or traffic from the old server group.
fn takes_away(invocation: &Invocation<'_>) -> bool {
    invocation
        .plan
        .children(&invocation.stage.ref_id)
        .any(|child| {
            child.owner == Some(Owner::After)
                && child
                    .function
                    .as_deref()
                    .is_some_and(|function| TAKING_AWAY.contains(&function))
        })
}

/// Looks at the way back to the server group `source`.
///
/// # Errors
/// Those of Auto Scaling and EC2, and a setting that cannot be read.
pub(crate) async fn of(
    invocation: &Invocation<'_>,
    place: &Place,
    ec2: &dyn Ec2,
    deployed: &Deployed<'_>,
) -> Result<Readiness, StageError> {
    let when = WhenNotReady::from_context(invocation.context)
        .map_err(|error| StageError::invalid(error.key.clone(), error.to_string()))?;
    let Some(source) = deployed
        .source
        .filter(|_| when != WhenNotReady::Ignore && takes_away(invocation))
    else {
        return Ok(Readiness::Ready);
    };
    let group = observe::group(place, source).await?;
    let launches = match group.as_ref().and_then(|g| g.launch_template.as_ref()) {
        Some(template) => ec2.template_data(template).await?,
        None => None,
    };
    let mut way = way_back(ec2, group.as_ref(), launches.as_ref()).await?;
    if let (Some(group), Some(data)) = (&group, &launches) {
        way.cores = cores(invocation, place, ec2, (group, data), deployed).await?;
    }
    let found = lacks(&way);
    if found.is_empty() {
        return Ok(Readiness::Ready);
    }
    let said: Vec<String> = found.iter().map(Lack::to_string).collect();
    let what = format!(
        "this deployment could not go back to server group `{source}` in {place:?}: {}",
        said.join("; ")
    );
    tracing::warn!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, reason = what, "no way back");
    Ok(match when {
        WhenNotReady::Stop => Readiness::Refused(format!(
            "{what} (with `rollbackReadiness` set to `warn` or `ignore` it goes on all the same)"
        )),
        _ => Readiness::Warned(what),
    })
}

async fn way_back(
    ec2: &dyn Ec2,
    group: Option<&Group>,
    launches: Option<&LaunchData>,
) -> Result<WayBack, StageError> {
    let Some(group) = group else {
        return Ok(WayBack::default());
    };
    let mut way = WayBack {
        group_exists: true,
        ..WayBack::default()
    };
    if let Some(template) = &group.launch_template {
        way.template = Some((template.id.clone(), template.version.clone()));
        way.image = launches
            .map(|data| data.image.clone())
            .filter(|image| !image.is_empty());
    }
    if let Some(image) = &way.image {
        way.image_state = match ImageRef::of(image) {
            ImageRef::Id(id) => {
                let found = ec2.images(&[id]).await?;
                found.into_iter().next().map(|image| image.state)
            }
            // `resolve:ssm:…`: which image that is, EC2 asks when it launches.
            ImageRef::Name(_) => Some("available".to_owned()),
        };
    }
    Ok(way)
}

/// The vCPUs that both server groups need at once, and how many the account may have; none where that is not known: several
/// types, Spot, types of different quotas, or an account that may not ask.
async fn cores(
    invocation: &Invocation<'_>,
    place: &Place,
    ec2: &dyn Ec2,
    (group, data): (&Group, &LaunchData),
    deployed: &Deployed<'_>,
) -> Result<Option<Cores>, StageError> {
    let Some(new) = deployed.instance_type else {
        return Ok(None);
    };
    let (old, quota) = (data.instance_type.clone(), quota_of(new));
    if old.is_empty() || data.spot_price.is_some() || quota_of(&old) != quota {
        return Ok(None);
    }
    let vcpus = ec2.vcpus(&[new.to_owned(), old.clone()]).await?;
    let (Some(of_new), Some(of_old)) = (vcpus.get(new), vcpus.get(&old)) else {
        return Ok(None);
    };
    let all = |vcpus: &u32, size: u32| u64::from(*vcpus).saturating_mul(u64::from(size));
    let needed = all(of_new, deployed.size).saturating_add(all(of_old, group.capacity.desired()));
    match place.quotas.of_ec2(quota, invocation.now).await {
        Ok(quota) => Ok(quota.map(|quota| Cores { needed, quota })),
        // What nobody knows stops nobody.
        Err(error) => {
            tracing::warn!(place = ?place, quota, reason = %error, "the quota is not known");
            Ok(None)
        }
    }
}
