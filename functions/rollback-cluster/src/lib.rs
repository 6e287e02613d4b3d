#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use gennaker_cloud::{Connection, Ec2Clouds};
use gennaker_cloud_ec2::AwsEc2Clouds;
use gennaker_domain::Intent;
use gennaker_domain::deployment::facts;
use gennaker_domain::deployment::rollback::{
    PreviousImage, Rollback, RollbackMethod, RollbackRequest, cluster_sub_stages,
    rollback_of_region, rolled_back_group,
};
use gennaker_lambda::in_line::{InLine, Progress};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_rollback_server_group::{Stages, cluster_of};
use gennaker_server_groups::predecessor::previous_image;
use gennaker_server_groups::{Place, clouds, config, observe};
use serde_json::{Map, Value, json};

/// How long a cluster or a server group that is not found is looked for: five minutes.
const LOOKED_FOR_MILLIS: i64 = 5 * 60 * 1_000;

/// Takes a cluster back, one region after the other.
pub struct RollbackCluster {
    stages: Stages,
    ec2: std::sync::Arc<dyn Ec2Clouds>,
}

impl RollbackCluster {
    /// Over these stages; the images of groups are read from `ec2`.
    #[must_use]
    pub fn new(stages: Stages, ec2: std::sync::Arc<dyn Ec2Clouds>) -> Self {
        Self { stages, ec2 }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(
            Stages::connect(connection),
            std::sync::Arc::new(AwsEc2Clouds::new(connection)),
        )
    }
}

/// What the candidates of all regions came to.
enum Candidates {
    /// The stages, and what a person reads of each region.
    Found(Value),
    /// Not yet.
    Wait(String),
}

fn described(region: &str, way: &Rollback) -> Value {
    let method = match way.method {
        RollbackMethod::Explicit { .. } => "EXPLICIT",
        RollbackMethod::PreviousImage(_) => "PREVIOUS_IMAGE",
    };
    json!({
        "region": region, "image": way.image_name, "buildNumber": way.build_number,
        "rollbackMethod": method,
    })
}

impl RollbackCluster {
    /// The way back of one region.
    async fn way(
        &self,
        invocation: &Invocation<'_>,
        place: &Place,
        cluster: &str,
        request: &RollbackRequest,
    ) -> Result<Result<Rollback, String>, StageError> {
        let groups = observe::cluster_groups(place, cluster).await?;
        let mut observed = observe::without_health(place, &groups);
        let previous: Option<PreviousImage> = rolled_back_group(&observed)
            .ok()
            .and_then(|rolled_back| groups.iter().find(|group| group.name == rolled_back.name))
            .and_then(previous_image);
        if previous.is_some() {
            // Which of the others runs that image.
            let ec2 = self
                .ec2
                .ec2(&place.account, &place.region, invocation.run)
                .await;
            for group in &groups {
                let Some(template) = &group.launch_template else {
                    continue;
                };
                let image = ec2.template_image(template).await?;
                if let Some(found) = observed.iter_mut().find(|found| found.name == group.name) {
                    found.image = image;
                }
            }
        }
        rollback_of_region(request, &observed, previous.as_ref())
            .map(|way| way.map_err(|nothing| nothing.to_string()))
            .map_err(|error| {
                StageError::invalid("cluster", format!("{error}, in `{cluster}` of {place:?}"))
            })
    }

    /// Finds the way back of every region.
    async fn candidates(
        &self,
        invocation: &Invocation<'_>,
        context: &Map<String, Value>,
    ) -> Result<Candidates, StageError> {
        let account = ["credentials", "account"]
            .iter()
            .find_map(|key| context.get(*key)?.as_str())
            .ok_or_else(|| StageError::invalid("credentials", "the stage names no account"))?;
        let regions = config::regions(context);
        if regions.is_empty() {
            return Err(StageError::invalid("regions", "the stage names no region"));
        }
        let cluster = cluster_of(context)
            .ok_or_else(|| StageError::invalid("cluster", "the stage names no cluster"))?;
        let request = RollbackRequest::from_context(context)
            .map_err(|error| StageError::invalid(error.key.clone(), error.to_string()))?;
        let mut places = Vec::new();
        for region in &regions {
            places.push(clouds::place(self.stages.clouds(), invocation, account, region).await?);
        }
        let mut there = false;
        for place in &places {
            there = there || !observe::cluster_groups(place, &cluster).await?.is_empty();
        }
        let server_group = context.get("serverGroup").and_then(Value::as_str);
        if let (Some(name), Some(first)) = (server_group, places.first())
            && context.get("moniker").is_none()
        {
            there = there && observe::group(first, name).await?.is_some();
        }
        if !there {
            let missing = server_group.unwrap_or(&cluster);
            let reason = format!("`{missing}` not found in {}", regions.join(", "));
            return if invocation.spent() < LOOKED_FOR_MILLIS {
                Ok(Candidates::Wait(reason))
            } else {
                Err(StageError::invalid("cluster", reason))
            };
        }
        let mut ways: Vec<(String, Rollback)> = Vec::new();
        let mut told = Vec::new();
        for place in &places {
            match self.way(invocation, place, &cluster, &request).await? {
                Ok(way) => {
                    tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, region = place.region, way = %way, "way back");
                    told.push(described(&place.region, &way));
                    ways.push((place.region.clone(), way));
                }
                Err(nothing) => {
                    tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, region = place.region, reason = nothing, "left out");
                }
            }
        }
        let stages = cluster_sub_stages(context, &ways, &enclosing(invocation))
            .map_err(|error| StageError::invalid(error.key.clone(), error.to_string()))?;
        let stages: Vec<Value> = stages
            .iter()
            .map(|stage| {
                json!({ "type": stage.type_, "name": stage.name, "context": stage.context })
            })
            .collect();
        Ok(Candidates::Found(
            json!({ "stages": stages, "imagesToRestore": told }),
        ))
    }
}

/// What the deploy that is rolled back hands on: its context and what it answered.
fn enclosing(invocation: &Invocation<'_>) -> Map<String, Value> {
    let Some(stage) = facts::creating_stage(invocation.plan, &invocation.stage.ref_id) else {
        return Map::new();
    };
    let mut context = stage.context.clone();
    if let Some(record) = invocation.records.get(&stage.ref_id) {
        context.extend(record.context.clone());
        context.extend(record.outputs.clone());
    }
    context
}

#[async_trait]
impl Stage for RollbackCluster {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let mut in_line = InLine::open(invocation).await?;
        let own = invocation.stage.ref_id.clone();
        let decided = match in_line.decided(&own) {
            Some(decided) => decided.clone(),
            None => match self.candidates(invocation, &context).await? {
                Candidates::Found(found) => in_line.decide(&own, &found).await?,
                Candidates::Wait(reason) => return Ok(in_line.waiting(reason)),
            },
        };
        let stages = decided.get("stages").and_then(Value::as_array);
        for (at, stage) in stages.into_iter().flatten().enumerate() {
            let text = |key: &str| stage.get(key).and_then(Value::as_str).unwrap_or_default();
            let empty = Map::new();
            let planned = stage
                .get("context")
                .and_then(Value::as_object)
                .unwrap_or(&empty);
            let sub_stage = in_line.sub_stage(&own, at + 1, text("type"), text("name"), planned);
            let ref_id = sub_stage.ref_id.clone();
            let progress = if text("type") == "wait" {
                let seconds = planned.get("waitTime").and_then(Value::as_i64).unwrap_or(0);
                in_line.wait(sub_stage, seconds)
            } else {
                let snapshot = planned
                    .get_key_value("sourceServerGroupCapacitySnapshot")
                    .map(|(key, value)| (key.clone(), value.clone()));
                in_line.group(sub_stage, snapshot.into_iter().collect());
                self.stages
                    .roll_back(invocation, &mut in_line, &ref_id, planned)
                    .await?
            };
            match progress {
                Progress::Done => {}
                Progress::Waiting(reason) => return Ok(in_line.waiting(reason)),
                Progress::Failed(step) => return Ok(step),
            }
        }
        let mut told = Map::new();
        if let Some(images) = decided.get("imagesToRestore") {
            told.insert("imagesToRestore".to_owned(), images.clone());
        }
        Ok(Step::Succeeded {
            outputs: Map::new(),
            context: told,
        })
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        self.stages.undo(invocation, intent).await
    }
}
