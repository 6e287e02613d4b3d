//! The image that a cluster runs: `findImageFromCluster`.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::context::{self, ContextError};
use super::server_group::ServerGroup;

/// Which server group's image is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SelectionStrategy {
    /// The one with the most instances, of those the newest.
    Largest,
    /// The newest.
    #[default]
    Newest,
    /// The oldest.
    Oldest,
    /// The only one; more than one is an error.
    Fail,
}

/// What a `findImageFromCluster` stage asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindImage {
    /// The cluster.
    pub cluster: String,
    /// The account.
    pub account: String,
    /// The regions, those of later deploy stages included.
    pub regions: Vec<String>,
    /// Those that later deploy stages added.
    pub inferred_regions: Vec<String>,
    /// Whether only groups that take traffic count. Default true.
    pub only_enabled: bool,
    /// Which group's image is taken.
    pub selection: SelectionStrategy,
    /// Whether a region without the cluster takes the image of the same name there. Default false.
    pub resolve_missing_locations: bool,
    /// Regular expression that the image's whole name has to match.
    pub image_name_pattern: Option<String>,
}

impl FindImage {
    /// Reads the context of a stage. `later_regions` are the regions that deploy stages after it deploy to; their
    /// images are looked for too, unless `skipRegionDetection` is set.
    ///
    /// # Errors
    /// Fails for values of the wrong kind and for a stage without cluster.
    pub fn from_context(
        context: &Map<String, Value>,
        later_regions: &[String],
    ) -> Result<Self, FindImageError> {
        let mut regions = context::text_list(context, "regions").unwrap_or_default();
        let mut inferred = Vec::new();
        if context::flag(context, "skipRegionDetection")? != Some(true) {
            for region in later_regions {
                if !regions.contains(region) {
                    regions.push(region.clone());
                    inferred.push(region.clone());
                }
            }
        }
        let selection = match context::filled_text(context, "selectionStrategy").as_deref() {
            None | Some("NEWEST") => SelectionStrategy::Newest,
            Some("LARGEST") => SelectionStrategy::Largest,
            Some("OLDEST") => SelectionStrategy::Oldest,
            Some("FAIL") => SelectionStrategy::Fail,
            Some(other) => return Err(FindImageError::UnknownStrategy(other.to_owned())),
        };
        let moniker = context::object(context, "moniker");
        Ok(Self {
            cluster: context::filled_text(context, "cluster")
                .or_else(|| moniker.and_then(|moniker| context::filled_text(moniker, "cluster")))
                .ok_or(FindImageError::NoCluster)?,
            account: context::filled_text(context, "credentials")
                .or_else(|| context::filled_text(context, "account"))
                .unwrap_or_default(),
            regions,
            inferred_regions: inferred,
            only_enabled: context::flag(context, "onlyEnabled")?.unwrap_or(true),
            selection,
            resolve_missing_locations: context::flag(context, "resolveMissingLocations")?
                .unwrap_or(false),
            image_name_pattern: context::filled_text(context, "imageNamePattern"),
        })
    }
}

/// An image as the account's registry of images knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisteredImage {
    /// The account it was looked for in.
    pub account: String,
    /// Its name.
    pub name: String,
    /// Its id by region.
    pub ids: Vec<(String, String)>,
}

/// The image of one region.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundImage {
    /// The region.
    pub region: String,
    /// The image id.
    pub image_id: String,
    /// The image's name.
    pub image_name: String,
    /// The server group that runs it, or the cluster's name where the image was found by name.
    pub source_server_group: String,
    /// What the image says about the build that made it.
    pub build_info: Map<String, Value>,
}

impl FoundImage {
    /// The entry of `amiDetails` and `deploymentDetails`.
    #[must_use]
    pub fn deployment_detail(&self, ref_id: &str) -> Value {
        let mut detail = Map::new();
        for (key, value) in [
            ("ami", &self.image_id),
            ("imageId", &self.image_id),
            ("imageName", &self.image_name),
            ("cloudProvider", &"aws".to_owned()),
            ("refId", &ref_id.to_owned()),
            ("sourceServerGroup", &self.source_server_group),
            ("region", &self.region),
            ("name", &self.image_name),
        ] {
            detail.insert(key.to_owned(), json!(value));
        }
        detail.extend(self.build_info.clone());
        Value::Object(detail)
    }

    /// The artifact, without an id of its own.
    #[must_use]
    pub fn artifact(&self, ref_id: &str) -> Value {
        let mut metadata = Map::new();
        for (key, value) in [
            ("sourceServerGroup", self.source_server_group.as_str()),
            ("refId", ref_id),
            ("imageId", &self.image_id),
            ("name", &self.image_name),
        ] {
            metadata.insert(key.to_owned(), json!(value));
        }
        metadata.extend(self.build_info.clone());
        json!({
            "customKind": false,
            "type": "aws/image",
            "name": self.image_name,
            "location": self.region,
            "reference": "aws/image",
            "metadata": metadata,
        })
    }
}

/// The answer: images by region.
#[derive(Clone, Debug, PartialEq)]
pub enum ImagesFound {
    /// Some group has no image id yet; look again.
    Wait {
        /// Its regions.
        regions: Vec<String>,
    },
    /// By region in the order asked; `None` where the image's name does not match the pattern.
    Found(Vec<(String, Option<FoundImage>)>),
}

impl std::fmt::Display for ImagesFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wait { regions } => write!(f, "no image id yet in {}", regions.join(", ")),
            Self::Found(images) => {
                let found: Vec<String> = images
                    .iter()
                    .filter_map(|(region, image)| image.as_ref().map(|image| (region, image)))
                    .map(|(region, image)| {
                        format!(
                            "{} in {region} from {}",
                            image.image_id, image.source_server_group
                        )
                    })
                    .collect();
                f.write_str(&found.join(", "))
            }
        }
    }
}

/// Finds the image of a cluster in each region.
///
/// `groups` are the groups of the cluster in the account, `images` what the registry knows in this account, and
/// `default_images` in the account that bakes; these are used where `resolve_missing_locations` needs them.
///
/// # Errors
/// The real reason, always: a region without the cluster, several groups with `FAIL`, an image that is missing in a
/// region, and, unlike the original, which goes on without any image, a pattern that nothing matches.
pub fn find_images(
    ask: &FindImage,
    groups: &[ServerGroup],
    images: &[RegisteredImage],
    default_images: &[RegisteredImage],
) -> Result<ImagesFound, FindImageError> {
    let mut chosen: Vec<(String, Option<Summary>)> = Vec::new();
    for region in &ask.regions {
        let summary = match choose(ask, groups, region)? {
            Some(group) => Some(Summary::of(group)),
            None if ask.resolve_missing_locations => None,
            None => {
                return Err(FindImageError::ClusterNotFound {
                    cluster: ask.cluster.clone(),
                    account: ask.account.clone(),
                    region: region.clone(),
                });
            }
        };
        chosen.push((region.clone(), summary));
    }
    let waiting: Vec<String> = chosen
        .iter()
        .filter(|(_, summary)| {
            summary
                .as_ref()
                .is_some_and(|summary| summary.image_id.is_none())
        })
        .map(|(region, _)| region.clone())
        .collect();
    if !waiting.is_empty() {
        return Ok(ImagesFound::Wait { regions: waiting });
    }
    resolve_missing(ask, &mut chosen, images, default_images)?;

    let pattern = match &ask.image_name_pattern {
        Some(pattern) => Some(Regex::new(&format!("^(?:{pattern})$")).map_err(|source| {
            FindImageError::Pattern {
                pattern: pattern.clone(),
                source: Box::new(source),
            }
        })?),
        None => None,
    };
    let names: BTreeSet<String> = chosen
        .iter()
        .filter_map(|(_, summary)| summary.as_ref())
        .map(|summary| summary.image_name.clone())
        .collect();
    let found: Vec<(String, Option<FoundImage>)> = chosen
        .into_iter()
        .map(|(region, summary)| {
            let image = summary
                .filter(|summary| {
                    pattern
                        .as_ref()
                        .is_none_or(|pattern| pattern.is_match(&summary.image_name))
                })
                .map(|summary| summary.found_in(&region));
            (region, image)
        })
        .collect();
    match &ask.image_name_pattern {
        Some(pattern) if found.iter().all(|(_, image)| image.is_none()) => {
            Err(FindImageError::NothingMatches {
                pattern: pattern.clone(),
                names: names.into_iter().collect(),
            })
        }
        _ => Ok(ImagesFound::Found(found)),
    }
}

#[derive(Clone)]
struct Summary {
    server_group: String,
    image_id: Option<String>,
    image_name: String,
    build_info: Map<String, Value>,
}

impl Summary {
    fn of(group: &ServerGroup) -> Self {
        Self {
            server_group: group.name.clone(),
            image_id: group.image.clone(),
            image_name: group.image_name.clone().unwrap_or_default(),
            build_info: group.build_info.clone(),
        }
    }

    fn found_in(self, region: &str) -> FoundImage {
        FoundImage {
            region: region.to_owned(),
            image_id: self.image_id.unwrap_or_default(),
            image_name: self.image_name,
            source_server_group: self.server_group,
            build_info: self.build_info,
        }
    }
}

fn choose<'a>(
    ask: &FindImage,
    groups: &'a [ServerGroup],
    region: &str,
) -> Result<Option<&'a ServerGroup>, FindImageError> {
    let mut candidates: Vec<&ServerGroup> = groups
        .iter()
        .filter(|group| group.region == region && (group.enabled || !ask.only_enabled))
        .collect();
    match ask.selection {
        SelectionStrategy::Newest => {
            candidates.sort_by_key(|group| std::cmp::Reverse(group.created_millis))
        }
        SelectionStrategy::Oldest => candidates.sort_by_key(|group| group.created_millis),
        SelectionStrategy::Largest => {
            candidates.sort_by_key(|group| {
                std::cmp::Reverse((group.instances.len(), group.created_millis))
            });
        }
        SelectionStrategy::Fail if candidates.len() > 1 => {
            return Err(FindImageError::SeveralServerGroups {
                region: region.to_owned(),
                names: candidates.iter().map(|group| group.name.clone()).collect(),
            });
        }
        SelectionStrategy::Fail => {}
    }
    Ok(candidates.first().copied())
}

/// Fills the regions without the cluster with the image of the same base name.
fn resolve_missing(
    ask: &FindImage,
    chosen: &mut [(String, Option<Summary>)],
    images: &[RegisteredImage],
    default_images: &[RegisteredImage],
) -> Result<(), FindImageError> {
    let missing = |chosen: &[(String, Option<Summary>)]| -> Vec<String> {
        chosen
            .iter()
            .filter(|(_, summary)| summary.is_none())
            .map(|(region, _)| region.clone())
            .collect()
    };
    let regions = missing(chosen);
    if regions.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = chosen
        .iter()
        .filter_map(|(_, summary)| summary.as_ref())
        .map(|summary| base_name(&summary.image_name).to_owned())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let template = chosen.iter().find_map(|(_, summary)| summary.clone());
    let (Some(template), [base]) = (template, names.as_slice()) else {
        return Err(FindImageError::NotOneImage { names, regions });
    };
    for image in images
        .iter()
        .chain(default_images)
        .filter(|image| image.name.starts_with(base.as_str()))
    {
        for (region, summary) in chosen.iter_mut().filter(|(_, summary)| summary.is_none()) {
            if let Some((_, id)) = image.ids.iter().find(|(place, _)| place == region) {
                *summary = Some(Summary {
                    server_group: ask.cluster.clone(),
                    image_id: Some(id.clone()),
                    image_name: image.name.clone(),
                    build_info: template.build_info.clone(),
                });
            }
        }
    }
    match missing(chosen) {
        regions if regions.is_empty() => Ok(()),
        regions => Err(FindImageError::ImageNotFound {
            name: base.clone(),
            inferred: if regions
                .iter()
                .any(|region| ask.inferred_regions.contains(region))
            {
                ask.inferred_regions.clone()
            } else {
                Vec::new()
            },
            regions,
        }),
    }
}

/// An image's name up to and with its last `-ebs` or `-s3`: what follows differs between copies.
fn base_name(name: &str) -> &str {
    let end = ["-ebs", "-s3"]
        .into_iter()
        .filter_map(|mark| name.rfind(mark).map(|at| at + mark.len()))
        .max();
    end.and_then(|end| name.get(..end)).unwrap_or(name)
}

/// Why no image was found.
#[derive(Debug, thiserror::Error)]
pub enum FindImageError {
    /// The stage names no cluster.
    #[error("the stage names no `cluster`")]
    NoCluster,
    /// The selection strategy is unknown.
    #[error("unknown selection strategy `{0}`, expected NEWEST, LARGEST, OLDEST or FAIL")]
    UnknownStrategy(String),
    /// A region has no group that counts.
    #[error("no server group of cluster `{cluster}` in `{account}/{region}`")]
    ClusterNotFound {
        /// The cluster.
        cluster: String,
        /// The account.
        account: String,
        /// The region.
        region: String,
    },
    /// `FAIL` and several groups.
    #[error("several server groups in `{region}`: {}", .names.join(", "))]
    SeveralServerGroups {
        /// The region.
        region: String,
        /// What is there.
        names: Vec<String>,
    },
    /// Several images, or none, to look for in the regions without the cluster.
    #[error("the image for {} is looked for by name, which needs exactly one image, found [{}]", .regions.join(", "), .names.join(", "))]
    NotOneImage {
        /// The images' names.
        names: Vec<String>,
        /// The regions without the cluster.
        regions: Vec<String>,
    },
    /// The image does not exist in a region.
    #[error("image `{name}` not found in {}", .regions.join(", "))]
    ImageNotFound {
        /// The image's base name.
        name: String,
        /// The regions.
        regions: Vec<String>,
        /// The regions that later deploy stages added, if one of the missing is among them.
        inferred: Vec<String>,
    },
    /// The pattern is no regular expression.
    #[error("`imageNamePattern` `{pattern}` is not a regular expression")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: Box<regex::Error>,
    },
    /// No image's name matches the pattern.
    #[error("no image name matches `{pattern}`, found {}", .names.join(", "))]
    NothingMatches {
        /// The pattern.
        pattern: String,
        /// The names that are there.
        names: Vec<String>,
    },
    /// A value has the wrong kind.
    #[error(transparent)]
    Context(#[from] ContextError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, region: &str, image: &str, created_millis: i64) -> ServerGroup {
        ServerGroup {
            name: name.to_owned(),
            region: region.to_owned(),
            image: Some(format!("ami-{created_millis}")),
            image_name: Some(image.to_owned()),
            created_millis,
            enabled: true,
            ..ServerGroup::default()
        }
    }

    fn ask(context: Value) -> FindImage {
        FindImage::from_context(context.as_object().unwrap(), &[]).unwrap()
    }

    #[test]
    fn the_newest_groups_image_is_found_in_each_region() {
        let groups = [
            group("v001", "us-east-1", "a", 1),
            group("v002", "us-east-1", "b", 2),
        ];
        let found = find_images(
            &ask(json!({"cluster": "shop", "regions": ["us-east-1"]})),
            &groups,
            &[],
            &[],
        )
        .unwrap();
        assert_eq!(found.to_string(), "ami-2 in us-east-1 from v002");
    }

    #[test]
    fn a_pattern_matches_the_whole_name_and_fails_with_what_there_was() {
        let groups = [group("v001", "us-east-1", "shop-1.0-ebs", 1)];
        let asked =
            ask(json!({"cluster": "shop", "regions": ["us-east-1"], "imageNamePattern": "shop"}));
        let error = find_images(&asked, &groups, &[], &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no image name matches `shop`, found shop-1.0-ebs"
        );
    }

    #[test]
    fn takes_the_image_of_the_same_base_name_where_the_cluster_is_missing() {
        let groups = [group("v001", "us-east-1", "shop-1.0-ebs", 1)];
        let asked = ask(
            json!({"cluster": "shop", "regions": ["us-east-1", "eu-west-1"], "resolveMissingLocations": true}),
        );
        let copy = RegisteredImage {
            account: "prod".to_owned(),
            name: "shop-1.0-ebs1".to_owned(),
            ids: vec![("eu-west-1".to_owned(), "ami-copy".to_owned())],
        };
        let found = find_images(&asked, &groups, &[copy], &[]).unwrap();
        assert_eq!(
            found.to_string(),
            "ami-1 in us-east-1 from v001, ami-copy in eu-west-1 from shop"
        );
        assert!(find_images(&asked, &groups, &[], &[]).is_err());
    }
}
