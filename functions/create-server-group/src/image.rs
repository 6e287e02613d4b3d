//! Which image a deploy asks for: the cluster's own, or what an earlier stage found or baked.

use gennaker_lambda::{Invocation, StageError};
use serde_json::Value;

use crate::config::Config;

/// An image as a pipeline names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Id or name.
    pub image: String,
    /// The account, by name or id, in which an earlier stage found or baked it, where it says so.
    pub account: Option<String>,
}

/// The image that a deploy asks for.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] where nobody names one.
pub fn asked(invocation: &Invocation<'_>, config: &Config) -> Result<Asked, StageError> {
    let own = config.image.clone().map(|image| Asked {
        image,
        account: None,
    });
    let upstream = || {
        ["deploymentDetails", "amiDetails"]
            .iter()
            .find_map(|key| upstream_image(invocation.lookup(key)?, &config.region))
    };
    own.or_else(upstream).ok_or_else(|| {
        StageError::invalid(
            "imageId",
            format!(
                "no image for {}: the cluster names none, and no earlier stage found or baked one",
                config.region
            ),
        )
    })
}

/// The image of a region in what an earlier bake or find image stage left: `deploymentDetails` or `amiDetails`.
#[must_use]
pub fn upstream_image(details: &Value, region: &str) -> Option<Asked> {
    let is_aws = |detail: &&Value| {
        let provider = detail
            .get("cloudProvider")
            .or_else(|| detail.get("cloudProviderType"));
        provider
            .and_then(Value::as_str)
            .is_none_or(|provider| provider == "aws")
    };
    let detail = details
        .as_array()?
        .iter()
        .filter(is_aws)
        .find(|detail| detail.get("region").and_then(Value::as_str) == Some(region))?;
    let text = |key: &str| {
        let text = detail.get(key).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let image = ["imageId", "ami", "amiName", "imageName"]
        .into_iter()
        .find_map(text)?;
    Some(Asked {
        image,
        account: text("account"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_image_of_the_region_is_taken_from_upstream() {
        let details = json!([
            {"region": "us-east-1", "imageId": "ami-9", "cloudProvider": "gce"},
            {"region": "us-east-1", "ami": "ami-1", "cloudProvider": "aws", "account": "bake"},
            {"region": "eu-west-1", "imageId": "ami-2", "account": ""},
            {"region": "eu-north-1", "account": "bake"},
        ]);
        let found = |region: &str| {
            let found = upstream_image(&details, region)?;
            Some((found.image, found.account))
        };
        let named = |image: &str, account: Option<&str>| {
            Some((image.to_owned(), account.map(str::to_owned)))
        };
        assert_eq!(found("us-east-1"), named("ami-1", Some("bake")));
        assert_eq!(found("eu-west-1"), named("ami-2", None));
        assert_eq!(found("eu-north-1"), None);
        assert_eq!(found("ap-south-1"), None);
    }
}
