//! The port to ECR: which image a tag names.

use async_trait::async_trait;
use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;

use crate::error::{from_sdk, unless_gone};
use crate::{CloudError, Connection};

/// A repository of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Account id that owns it.
    pub account: String,
    /// Region.
    pub region: String,
    /// Name, such as `shop/api`.
    pub name: String,
}

/// Image registries.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Digest (`sha256:…`) of the image that the tag names now; none if there is no such repository or tag.
    /// (`ecr:DescribeImages`)
    async fn digest(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Option<String>, CloudError>;
}

/// The calls of [`Registry`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "Registry":
        DIGEST = "digest" => ["ecr:DescribeImages"];
    }
}

/// ECR on AWS.
#[derive(Clone, Debug)]
pub struct AwsRegistry {
    connection: Connection,
}

impl AwsRegistry {
    /// Clients on the connection, one for each region as it is asked for.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
        }
    }
}

#[async_trait]
impl Registry for AwsRegistry {
    async fn digest(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Option<String>, CloudError> {
        let client = Client::new(self.connection.in_region(&repository.region).config());
        let answer = client
            .describe_images()
            .registry_id(&repository.account)
            .repository_name(&repository.name)
            .image_ids(ImageIdentifier::builder().image_tag(tag).build())
            .send()
            .await
            .map_err(|error| from_sdk("ecr:DescribeImages", &repository.name, &error));
        let images = unless_gone(
            answer,
            &["ImageNotFoundException", "RepositoryNotFoundException"],
        )?;
        let found = images.into_iter().flat_map(|images| images.image_details);
        Ok(found.flatten().find_map(|image| image.image_digest))
    }
}
