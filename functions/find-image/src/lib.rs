#![doc = include_str!("../README.md")]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::auto_scaling::{Group, TemplateVersion};
use gennaker_cloud::{Account, Connection, Ec2, Ec2Clouds};
use gennaker_cloud_ec2::AwsEc2Clouds;
use gennaker_domain::deployment::ServerGroup;
use gennaker_domain::deployment::app_version::build_info;
use gennaker_domain::deployment::find_image::{
    FindImage as Ask, FindImageError, ImagesFound, RegisteredImage, find_images,
};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use gennaker_server_groups::config::later_regions;
use gennaker_server_groups::{AwsClouds, Clouds, Place, clouds, image_owners, observe};
use serde_json::{Map, Value, json};

/// Spinnaker's time-out: ten minutes.
const TIME_LIMIT_MILLIS: i64 = 10 * 60 * 1_000;

/// Finds the image that a cluster runs.
pub struct FindImage {
    clouds: Arc<dyn Clouds>,
    ec2: Arc<dyn Ec2Clouds>,
}

impl FindImage {
    /// Over these clouds.
    #[must_use]
    pub fn new(clouds: Arc<dyn Clouds>, ec2: Arc<dyn Ec2Clouds>) -> Self {
        Self { clouds, ec2 }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(
            Arc::new(AwsClouds::new(connection)),
            Arc::new(AwsEc2Clouds::new(connection)),
        )
    }
}

/// The image of each group: id by launch template version, then name and tags by id.
async fn add_images(
    ec2: &dyn Ec2,
    groups: &[Group],
    observed: &mut [ServerGroup],
) -> Result<(), StageError> {
    let mut ids: BTreeMap<String, Option<String>> = BTreeMap::new();
    let key = |template: &TemplateVersion| format!("{} {}", template.id, template.version);
    for template in groups
        .iter()
        .filter_map(|group| group.launch_template.as_ref())
    {
        if let std::collections::btree_map::Entry::Vacant(entry) = ids.entry(key(template)) {
            entry.insert(ec2.template_image(template).await?);
        }
    }
    let wanted: Vec<String> = ids.values().flatten().cloned().collect();
    let images = ec2.images(&wanted).await?;
    for group in observed {
        let id = groups
            .iter()
            .find(|known| known.name == group.name)
            .and_then(|known| known.launch_template.as_ref())
            .and_then(|template| ids.get(&key(template)).cloned().flatten());
        let image = images.iter().find(|image| Some(&image.id) == id.as_ref());
        group.image_name = image.map(|image| image.name.clone());
        group.build_info = image
            .map(|image| build_info(&image.tags))
            .unwrap_or_default();
        group.image = id;
    }
    Ok(())
}

fn invalid(error: &FindImageError) -> StageError {
    let field = match error {
        FindImageError::NoCluster => "cluster",
        FindImageError::UnknownStrategy(_) => "selectionStrategy",
        FindImageError::Pattern { .. } => "imageNamePattern",
        _ => "",
    };
    StageError::invalid(field, error.to_string())
}

#[async_trait]
impl Stage for FindImage {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let ask = Ask::from_context(invocation.context, &later_regions(invocation))
            .map_err(|error| invalid(&error))?;
        if ask.regions.is_empty() {
            return Err(StageError::invalid("regions", "the stage names no region"));
        }
        let mut all = Vec::new();
        let mut ports = Vec::new();
        for region in &ask.regions {
            let place = clouds::place(&*self.clouds, invocation, &ask.account, region).await?;
            let ec2 = self.ec2.ec2(&place.account, region, invocation.run).await;
            let groups = observe::cluster_groups(&place, &ask.cluster).await?;
            let mut observed = observe::without_health(&place, &groups);
            add_images(&*ec2, &groups, &mut observed).await?;
            all.extend(observed);
            ports.push((place, ec2));
        }
        let registered = if ask.resolve_missing_locations {
            let known = Account::all(invocation.store()).await?;
            registered_images(&ask, &all, &ports, &known).await?
        } else {
            Vec::new()
        };
        let found = match find_images(&ask, &all, &registered, &registered) {
            Ok(found) => found,
            Err(
                error @ (FindImageError::UnknownStrategy(_)
                | FindImageError::NoCluster
                | FindImageError::Pattern { .. }),
            ) => return Err(invalid(&error)),
            Err(error) => return Ok(Step::failed(error.to_string())),
        };
        tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, found = %found, "images");
        match found {
            ImagesFound::Wait { .. } if invocation.spent() > TIME_LIMIT_MILLIS => {
                Ok(Step::failed(format!("{found}, after 10 minutes")))
            }
            ImagesFound::Wait { .. } => Ok(Step::waiting(invocation, found.to_string())),
            ImagesFound::Found(images) => {
                let ref_id = &invocation.stage.ref_id;
                let images: Vec<_> = images.into_iter().filter_map(|(_, image)| image).collect();
                let details: Vec<Value> = images
                    .iter()
                    .map(|image| image.deployment_detail(ref_id))
                    .collect();
                let artifacts: Vec<Value> =
                    images.iter().map(|image| image.artifact(ref_id)).collect();
                let outputs = Map::from_iter([
                    ("deploymentDetails".to_owned(), json!(details)),
                    ("inferredRegions".to_owned(), json!(ask.inferred_regions)),
                    ("artifacts".to_owned(), json!(artifacts)),
                ]);
                let context = Map::from_iter([
                    ("amiDetails".to_owned(), json!(details)),
                    ("artifacts".to_owned(), json!(artifacts)),
                ]);
                Ok(Step::Succeeded { outputs, context })
            }
        }
    }
}

/// The cluster's images by name, in every region asked for: none of strangers.
async fn registered_images(
    ask: &Ask,
    groups: &[ServerGroup],
    ports: &[(Place, Arc<dyn Ec2>)],
    known: &[Account],
) -> Result<Vec<RegisteredImage>, StageError> {
    let mut names: Vec<&String> = groups
        .iter()
        .filter_map(|group| group.image_name.as_ref())
        .collect();
    names.sort();
    names.dedup();
    let mut registered = Vec::new();
    for name in names {
        let mut ids = Vec::new();
        for (place, ec2) in ports {
            let seen = ec2.images_named(name).await?;
            if let Some(image) = image_owners::meant(&seen, &place.account, known) {
                ids.push((place.region.clone(), image.id.clone()));
            }
        }
        registered.push(RegisteredImage {
            account: ask.account.clone(),
            name: name.clone(),
            ids,
        });
    }
    Ok(registered)
}
