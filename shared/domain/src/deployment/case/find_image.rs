//! `find-image`: findImageFromCluster.

use serde_json::{Map, Value, json};

use super::{CaseError, context_of, hash_position, refused, server_groups};
use crate::deployment::ServerGroup;
use crate::deployment::context;
use crate::deployment::find_image::{
    FindImage, FindImageError, ImagesFound, RegisteredImage, find_images,
};

/// The recorded stage's.
const REF_ID: &str = "1";

pub(super) fn answer(input: &Map<String, Value>) -> Result<Value, CaseError> {
    let context = context_of(input)?;
    let mut later = context::text_list(input, "laterDeployRegions").unwrap_or_default();
    // The original collects these regions in a hash set, and its order shows in messages.
    later.sort_by_key(|region| hash_position(region));
    let ask = match FindImage::from_context(context, &later) {
        Ok(ask) => ask,
        Err(error) => return Ok(refusal(&error)),
    };
    let groups: Vec<ServerGroup> = server_groups(input)?
        .into_iter()
        .filter(|group| group.account == ask.account && group.cluster == ask.cluster)
        .collect();
    let images = |account: &str| -> Vec<RegisteredImage> {
        let images = input
            .get("images")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        images
            .iter()
            .filter_map(Value::as_object)
            .map(image)
            .filter(|image| image.account == account)
            .collect()
    };
    let default_account = context::text(input, "defaultBakeAccount").unwrap_or_default();
    Ok(
        match find_images(
            &ask,
            &groups,
            &images(&ask.account),
            &images(&default_account),
        ) {
            Ok(ImagesFound::Wait { .. }) => json!({"status": "RUNNING"}),
            Ok(ImagesFound::Found(found)) => {
                let details: Vec<Value> = found
                    .iter()
                    .filter_map(|(_, image)| image.as_ref())
                    .map(|image| image.deployment_detail(REF_ID))
                    .collect();
                let artifacts: Vec<Value> = found
                    .iter()
                    .map(|(_, image)| {
                        image.as_ref().map_or_else(
                            || json!({"customKind": false, "metadata": {}}),
                            |image| image.artifact(REF_ID),
                        )
                    })
                    .collect();
                json!({
                    "status": "SUCCEEDED",
                    "context": {"amiDetails": details, "artifacts": artifacts, "regions": ask.regions},
                    "outputs": {"deploymentDetails": details, "inferredRegions": ask.inferred_regions},
                })
            }
            Err(error) => refusal(&error),
        },
    )
}

fn image(value: &Map<String, Value>) -> RegisteredImage {
    RegisteredImage {
        account: context::text(value, "account").unwrap_or_default(),
        name: context::text(value, "imageName").unwrap_or_default(),
        ids: context::object(value, "amis")
            .map(|amis| {
                amis.iter()
                    .filter_map(|(region, ids)| {
                        Some((
                            region.clone(),
                            ids.as_array()?.first()?.as_str()?.to_owned(),
                        ))
                    })
                    .collect()
            })
            .unwrap_or_default(),
    }
}

fn refusal(error: &FindImageError) -> Value {
    let message = match error {
        FindImageError::ClusterNotFound {
            cluster,
            account,
            region,
        } => {
            format!("Could not find cluster '{cluster}' for '{account}' in '{region}'.")
        }
        FindImageError::SeveralServerGroups { region, .. } => {
            format!("Multiple possible server groups present in {region}")
        }
        FindImageError::NotOneImage { names, regions } => format!(
            "Request to resolve images for missing regions requires exactly one image. (Found [{}], missing locations: {})",
            names.join(", "),
            regions.join(",")
        ),
        FindImageError::ImageNotFound {
            name,
            regions,
            inferred,
        } => {
            let mut message = format!(
                "Missing image '{name}' in regions: [{}]",
                regions.join(", ")
            );
            if !inferred.is_empty() {
                message.push_str(&format!(
                    "; [{}] were inferred from subsequent deploy stages",
                    inferred.join(", ")
                ));
            }
            message
        }
        other => other.to_string(),
    };
    refused("IllegalStateException", &message)
}
