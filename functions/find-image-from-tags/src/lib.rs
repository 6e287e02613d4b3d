#![doc = include_str!("../README.md")]

mod accounts;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};
use gennaker_cloud::ec2::{Image, MOST_IMAGES, too_many_images};
use gennaker_cloud::{Account, CloudError, Connection, Ec2Clouds};
use gennaker_cloud_ec2::AwsEc2Clouds;
use gennaker_domain::deployment::find_image_from_tags::{
    FindImageFromTags as Ask, Query, TaggedImage, newest_images,
};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use gennaker_server_groups::config::later_regions;
use serde_json::{Map, Value, json};

use accounts::Search;

/// Accounts and regions that are asked at the same time: their answers are in memory together.
const AT_ONCE: usize = 4;

/// Finds the newest image with a package's name and certain tags.
pub struct FindImageFromTags {
    ec2: Arc<dyn Ec2Clouds>,
}

impl FindImageFromTags {
    /// Over these clouds.
    #[must_use]
    pub fn new(ec2: Arc<dyn Ec2Clouds>) -> Self {
        Self { ec2 }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsEc2Clouds::new(connection)))
    }

    /// The images of one account and region that the query finds.
    async fn images(
        &self,
        invocation: &Invocation<'_>,
        (account, region): (&Account, &str),
        query: &Query,
        owners: &[String],
    ) -> Result<Vec<TaggedImage>, CloudError> {
        let ec2 = self.ec2.ec2(account, region, invocation.run).await;
        let images = match query {
            Query::Id(id) => ec2.images(std::slice::from_ref(id)).await,
            Query::Name(pattern) => ec2.images_matching(pattern, owners).await,
        };
        let images = images.map_err(|error| in_place(error, account, region))?;
        let placed = |image| tagged_image(image, region);
        Ok(images.into_iter().map(placed).collect())
    }

    /// The images of all accounts and regions asked for; each image once.
    async fn all_images(
        &self,
        invocation: &Invocation<'_>,
        ask: &Ask,
        search: &Search,
    ) -> Result<Vec<TaggedImage>, StageError> {
        let query = ask.query();
        let calls: Vec<_> = search
            .places(&ask.regions)?
            .into_iter()
            .map(|place| self.images(invocation, place, &query, &search.owners))
            .collect();
        let mut answers = stream::iter(calls).buffered(AT_ONCE);
        let mut all: Vec<TaggedImage> = Vec::new();
        while let Some(images) = answers.try_next().await? {
            all.extend(images);
            if all.len() > MOST_IMAGES {
                return Err(too_many_images(&ask.package).into());
            }
        }
        // An image is seen by its owner and by everyone it is shared with; the owner alone sees its tags.
        let id = |image: &TaggedImage| (image.region.clone(), image.id.clone());
        all.sort_by_key(|image| (id(image), std::cmp::Reverse(image.tags.len())));
        all.dedup_by_key(|image| id(image));
        Ok(all)
    }
}

/// Of several accounts, the one that refused.
fn in_place(error: CloudError, account: &Account, region: &str) -> CloudError {
    match error {
        CloudError::Refused {
            operation,
            resource,
            code,
            message,
            request_id,
        } => CloudError::Refused {
            resource: format!("{resource} in {}/{region}", account.name),
            operation,
            code,
            message,
            request_id,
        },
        other => other,
    }
}

fn tagged_image(image: Image, region: &str) -> TaggedImage {
    TaggedImage {
        region: region.to_owned(),
        id: image.id,
        name: image.name,
        state: image.state,
        created: image.created,
        tags: image.tags,
    }
}

#[async_trait]
impl Stage for FindImageFromTags {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let ask = Ask::from_context(invocation.context, &later_regions(invocation))
            .map_err(|error| StageError::invalid(error.field(), error.to_string()))?;
        let search = Search::of(invocation, &ask).await?;
        let images = self.all_images(invocation, &ask, &search).await?;
        let found = match newest_images(&ask, &images) {
            Ok(found) => found,
            Err(error) => return Ok(Step::failed(format!("{error}; looked at {search}"))),
        };
        let named: Vec<String> = found.iter().map(ToString::to_string).collect();
        tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, found = %named.join(", "), "images");
        let ref_id = &invocation.stage.ref_id;
        let details: Vec<Value> = found
            .iter()
            .map(|image| image.deployment_detail(ref_id))
            .collect();
        let artifacts: Vec<Value> = found.iter().map(TaggedImage::artifact).collect();
        Ok(Step::Succeeded {
            outputs: Map::from_iter([
                ("deploymentDetails".to_owned(), json!(details)),
                ("artifacts".to_owned(), json!(artifacts)),
            ]),
            context: Map::from_iter([
                ("amiDetails".to_owned(), json!(details)),
                ("artifacts".to_owned(), json!(artifacts)),
            ]),
        })
    }
}
