//! The way back: which group a cluster returns to, and the stages that take it there.

use std::fmt;

use serde_json::{Map, Value, json};

use super::capacity::Capacity;
use super::context::{self, ContextError};
use super::naming;
use super::server_group::ServerGroup;
use super::strategy::SubStage;

/// The image that a group's predecessor ran, as it was recorded when the group was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousImage {
    /// The image id.
    pub image_id: String,
    /// The image's name.
    pub image_name: String,
    /// The build that made it.
    pub build_number: Option<String>,
}

/// What a `rollbackCluster` stage asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RollbackRequest {
    /// The group to go back to, if the stage or the execution's record names it.
    pub original_server_group: Option<String>,
    /// Whether only groups that take traffic may be gone back to.
    pub only_enabled: bool,
    /// The share of the restored group that has to be healthy, 0 to 100; `None` follows from its size.
    pub target_healthy_percentage: Option<i64>,
}

impl RollbackRequest {
    /// Reads the context of a stage.
    ///
    /// # Errors
    /// Fails for values of the wrong kind.
    pub fn from_context(context: &Map<String, Value>) -> Result<Self, ContextError> {
        let empty = Map::new();
        let additional = context::object(context, "additionalRollbackContext").unwrap_or(&empty);
        Ok(Self {
            original_server_group: context::filled_text(context, "originalServerGroup"),
            only_enabled: context::flag(additional, "onlyEnabledServerGroups")?.unwrap_or(false),
            target_healthy_percentage: context::integer(
                context,
                "targetHealthyRollbackPercentage",
            )?,
        })
    }
}

/// How a region goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollbackMethod {
    /// To a group that is there.
    Explicit {
        /// Its name.
        restore: String,
    },
    /// Forward, with a new group that runs the image of before.
    PreviousImage(PreviousImage),
}

/// The way back of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The group that is rolled back: the newest that takes traffic.
    pub roll_back: String,
    /// To what.
    pub method: RollbackMethod,
    /// The name of the image that runs afterwards, where it is known.
    pub image_name: Option<String>,
    /// The build of that image.
    pub build_number: Option<String>,
    /// The share of the restored group that has to be healthy, 0 to 100.
    pub target_healthy_percentage: i64,
}

impl fmt::Display for Rollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.method {
            RollbackMethod::Explicit { restore } => {
                write!(f, "from {} back to {restore}", self.roll_back)
            }
            RollbackMethod::PreviousImage(image) => {
                write!(
                    f,
                    "from {} to a new server group with image {}",
                    self.roll_back, image.image_name
                )
            }
        }
    }
}

/// Why a region has nothing to roll back; it is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NothingToRollBack {
    /// There are fewer than two groups.
    TooFew(usize),
    /// No group takes traffic.
    NoneEnabled,
}

impl fmt::Display for NothingToRollBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew(count) => write!(f, "{count} server groups, a rollback needs two"),
            Self::NoneEnabled => f.write_str("no server group takes traffic"),
        }
    }
}

/// Why a rollback cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// There is no other group to go back to.
    #[error("no server group to go back to from `{0}`")]
    NoCandidate(String),
    /// The image of before is not known.
    #[error("the image before `{0}` is not known")]
    NoImage(String),
    /// A group of the rollback is not there.
    #[error("server group `{0}` of the rollback not found")]
    NotFound(String),
    /// The rollback type is none of the three.
    #[error("unknown rollback type `{0}`, expected EXPLICIT, PREVIOUS_IMAGE or TEST")]
    UnknownType(String),
    /// A value has the wrong kind.
    #[error(transparent)]
    Context(#[from] ContextError),
}

/// The groups of a region, the newest first; among equals the first observed.
fn newest_first(groups: &[ServerGroup]) -> Vec<&ServerGroup> {
    let mut sorted: Vec<&ServerGroup> = groups.iter().collect();
    sorted.sort_by_key(|group| std::cmp::Reverse(group.created_millis));
    sorted
}

/// The group of a region that would be rolled back: the newest that takes traffic.
///
/// # Errors
/// Says why the region is left out.
pub fn rolled_back_group(groups: &[ServerGroup]) -> Result<&ServerGroup, NothingToRollBack> {
    if groups.len() < 2 {
        return Err(NothingToRollBack::TooFew(groups.len()));
    }
    newest_first(groups)
        .into_iter()
        .find(|group| group.enabled)
        .ok_or(NothingToRollBack::NoneEnabled)
}

/// Finds the way back of one region; `Ok(Err(_))` says why the region is left out.
///
/// In this order: to the group that the request names; to one that runs `previous_image`, or forward with that image;
/// to the newest other group. (The original fails where the request names a group and no previous image is recorded.)
///
/// # Errors
/// [`RollbackError::NoCandidate`] where `only_enabled` leaves no other group.
pub fn rollback_of_region(
    request: &RollbackRequest,
    groups: &[ServerGroup],
    previous_image: Option<&PreviousImage>,
) -> Result<Result<Rollback, NothingToRollBack>, RollbackError> {
    let rolled_back = match rolled_back_group(groups) {
        Ok(group) => group,
        Err(nothing) => return Ok(Err(nothing)),
    };
    let others: Vec<&ServerGroup> = newest_first(groups)
        .into_iter()
        .filter(|group| group.enabled || !request.only_enabled)
        .filter(|group| !group.name.eq_ignore_ascii_case(&rolled_back.name))
        .collect();
    let recorded =
        |image: &PreviousImage| (Some(image.image_name.clone()), image.build_number.clone());
    let (method, (image_name, build_number)) =
        match (&request.original_server_group, previous_image) {
            (Some(original), image) => (
                RollbackMethod::Explicit {
                    restore: original.clone(),
                },
                image.map(recorded).unwrap_or_default(),
            ),
            (None, Some(image)) => {
                let runs_it = |group: &&&ServerGroup| {
                    group
                        .image
                        .as_ref()
                        .is_some_and(|id| id.eq_ignore_ascii_case(&image.image_id))
                };
                let method = match others.iter().find(runs_it) {
                    Some(group) => RollbackMethod::Explicit {
                        restore: group.name.clone(),
                    },
                    None => RollbackMethod::PreviousImage(image.clone()),
                };
                (method, recorded(image))
            }
            (None, None) => {
                let previous = others
                    .first()
                    .ok_or_else(|| RollbackError::NoCandidate(rolled_back.name.clone()))?;
                (
                    RollbackMethod::Explicit {
                        restore: previous.name.clone(),
                    },
                    (previous.image_name.clone(), None),
                )
            }
        };
    Ok(Ok(Rollback {
        roll_back: rolled_back.name.clone(),
        method,
        image_name,
        build_number,
        target_healthy_percentage: request
            .target_healthy_percentage
            .unwrap_or_else(|| healthy_percentage(rolled_back.capacity)),
    }))
}

/// The share of a restored group that has to be healthy: all of fewer than 10 instances, 90 % of fewer than 20
/// (one may be unknown), 95 % of more.
#[must_use]
const fn healthy_percentage(capacity: Capacity) -> i64 {
    match capacity.desired() {
        0..10 => 100,
        10..20 => 90,
        _ => 95,
    }
}

impl Rollback {
    /// The context of the region's `rollbackServerGroup`: `rollbackType` and `rollbackContext`, completed with the
    /// stage's `additionalRollbackContext`.
    #[must_use]
    pub fn context(&self, additional: &Map<String, Value>) -> Map<String, Value> {
        let mut inner = Map::new();
        inner.insert("rollbackServerGroupName".to_owned(), json!(self.roll_back));
        let kind = match &self.method {
            RollbackMethod::Explicit { restore } => {
                inner.insert("restoreServerGroupName".to_owned(), json!(restore));
                "EXPLICIT"
            }
            RollbackMethod::PreviousImage(image) => {
                inner.insert("imageId".to_owned(), json!(image.image_id));
                inner.insert("imageName".to_owned(), json!(image.image_name));
                "PREVIOUS_IMAGE"
            }
        };
        inner.insert(
            "targetHealthyRollbackPercentage".to_owned(),
            json!(self.target_healthy_percentage),
        );
        inner.extend(additional.clone());
        let mut context = Map::new();
        context.insert("rollbackType".to_owned(), json!(kind));
        context.insert("rollbackContext".to_owned(), Value::Object(inner));
        context
    }
}

/// The stages after `determineRollbackCandidates` of a `rollbackCluster`: a `rollbackServerGroup` for each region that
/// has a way back, one after the other, with a wait between if the stage has `waitTimeBetweenRegions`.
///
/// `enclosing` is the context of the deploy stage that is rolled back, if any: its health providers and its
/// snapshot of the source's capacity go along.
///
/// # Errors
/// Fails for values of the wrong kind.
pub fn cluster_sub_stages(
    context: &Map<String, Value>,
    regions: &[(String, Rollback)],
    enclosing: &Map<String, Value>,
) -> Result<Vec<SubStage>, ContextError> {
    let empty = Map::new();
    let additional = context::object(context, "additionalRollbackContext").unwrap_or(&empty);
    let wait = context::integer(context, "waitTimeBetweenRegions")?;
    let mut stages = Vec::new();
    for (n, (region, rollback)) in regions.iter().enumerate() {
        let mut inner = rollback.context(additional);
        inner.insert("type".to_owned(), json!("rollbackServerGroup"));
        inner.insert("region".to_owned(), json!(region));
        for key in ["credentials", "cloudProvider"] {
            inner.extend(
                context
                    .get(key)
                    .map(|value| (key.to_owned(), value.clone())),
            );
        }
        for key in [
            "interestingHealthProviderNames",
            "sourceServerGroupCapacitySnapshot",
        ] {
            inner.extend(
                enclosing
                    .get(key)
                    .map(|value| (key.to_owned(), value.clone())),
            );
        }
        stages.push(SubStage::new(
            "rollbackServerGroup",
            format!("Rollback {region}"),
            inner,
        ));
        if let Some(seconds) = wait
            && n + 1 < regions.len()
        {
            stages.push(SubStage::new(
                "wait",
                format!("Wait after {region}"),
                object(json!({"waitTime": seconds})),
            ));
        }
    }
    Ok(stages)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// The capacity a group is restored to: the larger desired size and maximum of both, and a minimum that holds it.
#[must_use]
fn restored_capacity(rolled_back: Capacity, restored: Capacity) -> Capacity {
    let desired = rolled_back.desired().max(restored.desired());
    // INVARIANT: desired is not over max, because neither group's is.
    Capacity::new(desired, desired, rolled_back.max().max(restored.max())).unwrap_or(restored)
}

/// The stages of a `rollbackServerGroup`.
///
/// | type | stages |
/// |---|---|
/// | EXPLICIT | snapshot, enable, resize, wait, disable, restore the minimum; snapshot, resize and restore only if the size changes |
/// | EXPLICIT, `enableAndDisableOnly` | enable, disable |
/// | EXPLICIT, `disableOnly` | disable |
/// | PREVIOUS_IMAGE | clone with the image of before, red/black |
/// | TEST | wait |
///
/// `groups` are the groups of the cluster in the region, `previous_image` what was recorded for the one rolled back.
///
/// # Errors
/// Fails when a group or the image is not known.
pub fn server_group_sub_stages(
    context: &Map<String, Value>,
    groups: &[ServerGroup],
    previous_image: Option<&PreviousImage>,
) -> Result<Vec<SubStage>, RollbackError> {
    let empty = Map::new();
    let inner = context::object(context, "rollbackContext").unwrap_or(&empty);
    match context::text(context, "rollbackType")
        .unwrap_or_default()
        .as_str()
    {
        "EXPLICIT" => explicit(context, inner, groups),
        "PREVIOUS_IMAGE" => Ok(vec![clone_forward(context, inner, previous_image)?]),
        "TEST" => {
            let seconds = context::integer(inner, "waitTime")?;
            Ok(vec![SubStage::new(
                "wait",
                "wait".to_owned(),
                object(json!({"waitTime": seconds})),
            )])
        }
        other => Err(RollbackError::UnknownType(other.to_owned())),
    }
}

fn explicit(
    context: &Map<String, Value>,
    inner: &Map<String, Value>,
    groups: &[ServerGroup],
) -> Result<Vec<SubStage>, RollbackError> {
    let name = |key| context::filled_text(inner, key).unwrap_or_default();
    let (roll_back, restore) = (
        name("rollbackServerGroupName"),
        name("restoreServerGroupName"),
    );
    let healthy = inner
        .get("targetHealthyRollbackPercentage")
        .cloned()
        .unwrap_or(Value::Null);
    let with = |more: Value| {
        let mut context = context.clone();
        context.extend(object(more));
        context
    };
    let flag = |key| context::flag(inner, key).map(|flag| flag.unwrap_or(false));
    let disable = SubStage::new(
        "disableServerGroup",
        format!("Disable {roll_back} due to rollback"),
        with(json!({"serverGroupName": roll_back})),
    );
    if flag("disableOnly")? {
        return Ok(vec![disable]);
    }
    let enable = SubStage::new(
        "enableServerGroup",
        format!("Enable {restore} due to rollback"),
        with(json!({"serverGroupName": restore, "targetHealthyDeployPercentage": healthy})),
    );
    if flag("enableAndDisableOnly")? {
        return Ok(vec![enable, disable]);
    }

    let capacity = |name: &str| {
        let group = groups.iter().find(|group| group.name == name);
        group
            .map(|group| group.capacity)
            .ok_or_else(|| RollbackError::NotFound(name.to_owned()))
    };
    let (from, to) = (capacity(&roll_back)?, capacity(&restore)?);
    let wanted = restored_capacity(from, to);
    let resizes = wanted != to;
    let own = |key: &str| context.get(key).cloned().unwrap_or(Value::Null);
    let group = |name: &str| {
        json!({
            "asgName": name, "serverGroupName": name, "region": own("region"),
            "account": own("credentials"), "cloudProvider": own("cloudProvider"),
        })
    };
    let mut stages = Vec::new();
    if resizes && !context.contains_key("sourceServerGroupCapacitySnapshot") {
        stages.push(SubStage::new(
            "captureSourceServerGroupCapacity",
            "Snapshot Source Server Group".to_owned(),
            object(json!({"useSourceCapacity": true, "source": group(&roll_back)})),
        ));
    }
    stages.push(enable);
    if resizes {
        stages.push(SubStage::new(
            "resizeServerGroup",
            format!(
                "Resize Server Group: {restore} to (min: {}, max: {}, desired: {})",
                wanted.min(),
                wanted.max(),
                wanted.desired()
            ),
            with(json!({
                "action": "scale_exact", "capacity": wanted, "asgName": restore, "serverGroupName": restore,
                "targetLocation": {"type": "REGION", "value": own("region")},
                "pinMinimumCapacity": true, "targetHealthyDeployPercentage": healthy,
            })),
        ));
    }
    let seconds = context::integer(inner, "delayBeforeDisableSeconds")?.unwrap_or(0);
    if seconds > 0 {
        stages.push(SubStage::new(
            "wait",
            "waitBeforeDisable".to_owned(),
            object(json!({"waitTime": seconds})),
        ));
    }
    stages.push(disable);
    if resizes {
        stages.push(SubStage::new(
            "applySourceServerGroupCapacity",
            "Restore Min Capacity From Snapshot due to rollback".to_owned(),
            object(json!({
                "credentials": own("credentials"), "cloudProvider": own("cloudProvider"), "target": group(&restore),
            })),
        ));
    }
    Ok(stages)
}

fn clone_forward(
    context: &Map<String, Value>,
    inner: &Map<String, Value>,
    previous_image: Option<&PreviousImage>,
) -> Result<SubStage, RollbackError> {
    let roll_back = context::filled_text(inner, "rollbackServerGroupName").unwrap_or_default();
    let named = context::filled_text(inner, "imageName")
        .map(|name| (name, context::filled_text(inner, "imageId")));
    let recorded =
        previous_image.map(|image| (image.image_name.clone(), Some(image.image_id.clone())));
    let (image_name, image_id) = named
        .or(recorded)
        .ok_or_else(|| RollbackError::NoImage(roll_back.clone()))?;
    let names = naming::parse(&roll_back);
    let empty = Map::new();
    let moniker = context::object(context, "moniker").unwrap_or(&empty);
    let part = |key: &str, parsed: Option<String>| context::filled_text(moniker, key).or(parsed);
    let own = |key: &str| context.get(key).cloned().unwrap_or(Value::Null);
    let snapshot = context.get("sourceServerGroupCapacitySnapshot");
    let mut clone = object(json!({
        "imageId": image_id, "imageName": image_name, "amiName": image_name, "strategy": "redblack",
        "application": part("app", names.app), "stack": part("stack", names.stack),
        "freeFormDetails": part("detail", names.detail),
        "region": own("region"), "credentials": own("credentials"), "cloudProvider": own("cloudProvider"),
        "targetHealthyDeployPercentage": inner.get("targetHealthyRollbackPercentage"),
        "delayBeforeDisableSec": context::integer(inner, "delayBeforeDisableSeconds")?.unwrap_or(0),
        "source": {
            "asgName": roll_back, "serverGroupName": roll_back, "account": own("credentials"), "region": own("region"),
            "cloudProvider": own("cloudProvider"), "useSourceCapacity": snapshot.is_none(),
        },
    }));
    if let Some(snapshot) = snapshot {
        clone.insert("capacity".to_owned(), snapshot.clone());
    }
    for key in [
        "targetGroups",
        "securityGroups",
        "interestingHealthProviderNames",
    ] {
        clone.extend(
            context
                .get(key)
                .map(|value| (key.to_owned(), value.clone())),
        );
    }
    clone.retain(|_, value| !value.is_null());
    Ok(SubStage::new("cloneServerGroup", "clone".to_owned(), clone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, created_millis: i64, enabled: bool) -> ServerGroup {
        ServerGroup {
            name: name.to_owned(),
            created_millis,
            enabled,
            capacity: Capacity::fixed(u32::try_from(created_millis).unwrap()),
            image: Some(format!("ami-{created_millis}")),
            ..ServerGroup::default()
        }
    }

    fn back(
        request: &RollbackRequest,
        groups: &[ServerGroup],
        image: Option<&PreviousImage>,
    ) -> String {
        match rollback_of_region(request, groups, image) {
            Ok(Ok(rollback)) => rollback.to_string(),
            Ok(Err(nothing)) => nothing.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_newest_that_takes_traffic_goes_back_to_the_one_before() {
        let groups = [
            group("v001", 1, false),
            group("v002", 2, true),
            group("v003", 3, false),
        ];
        assert_eq!(
            back(&RollbackRequest::default(), &groups, None),
            "from v002 back to v003"
        );
        let request = RollbackRequest {
            only_enabled: true,
            ..RollbackRequest::default()
        };
        assert_eq!(
            back(&request, &groups, None),
            "no server group to go back to from `v002`"
        );
        assert_eq!(
            back(&request, &groups[..1], None),
            "1 server groups, a rollback needs two"
        );
    }

    #[test]
    fn goes_back_to_the_recorded_image_or_forward_with_it() {
        let groups = [
            group("v001", 1, false),
            group("v002", 2, true),
            group("v003", 3, false),
        ];
        let image = |image_id: &str| PreviousImage {
            image_id: image_id.to_owned(),
            image_name: "shop-1.0".to_owned(),
            build_number: None,
        };
        let request = RollbackRequest::default();
        assert_eq!(
            back(&request, &groups, Some(&image("AMI-1"))),
            "from v002 back to v001"
        );
        assert_eq!(
            back(&request, &groups, Some(&image("ami-9"))),
            "from v002 to a new server group with image shop-1.0"
        );
    }

    #[test]
    fn the_group_the_execution_recorded_needs_no_other_record() {
        let groups = [
            group("v001", 1, false),
            group("v002", 2, true),
            group("v003", 3, false),
        ];
        let request = RollbackRequest {
            original_server_group: Some("v001".to_owned()),
            ..RollbackRequest::default()
        };
        assert_eq!(back(&request, &groups, None), "from v002 back to v001");
    }

    #[test]
    fn an_explicit_rollback_resizes_only_where_the_size_changes() {
        let context = object(json!({
            "rollbackType": "EXPLICIT", "region": "us-east-1", "credentials": "prod",
            "rollbackContext": {"rollbackServerGroupName": "v003", "restoreServerGroupName": "v001"},
        }));
        let names = |groups: &[ServerGroup]| -> Vec<String> {
            server_group_sub_stages(&context, groups, None)
                .unwrap()
                .into_iter()
                .map(|stage| stage.type_)
                .collect()
        };
        let groups = [group("v001", 1, false), group("v003", 3, true)];
        assert_eq!(
            names(&groups),
            [
                "captureSourceServerGroupCapacity",
                "enableServerGroup",
                "resizeServerGroup",
                "disableServerGroup",
                "applySourceServerGroupCapacity"
            ]
        );
        let mut same = groups;
        same[0].capacity = same[1].capacity;
        assert_eq!(names(&same), ["enableServerGroup", "disableServerGroup"]);
    }
}
