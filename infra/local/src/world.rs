//! The world file: what exists in the emulated cloud before anything runs, and how its images behave.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;

/// What exists and how it behaves. Everything has a default: `{}` is a world without server groups in which every
/// image boots in two seconds and is healthy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct World {
    /// Clusters with their server groups.
    #[serde(default)]
    pub clusters: Vec<Cluster>,
    /// Images, or patterns of image names; the first entry that matches holds.
    #[serde(default)]
    pub images: Vec<Image>,
    /// Boot time in seconds of images without their own; default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_seconds: Option<f64>,
    /// The CloudWatch metrics written for each server group with instances; empty: CPU, latency and error rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
}

/// A cluster and its server groups, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// The account's name in pipelines; every account is 123456789012 here.
    #[serde(default = "default_account")]
    pub account: String,
    /// The region.
    #[serde(default = "default_region")]
    pub region: String,
    /// The cluster's name, `shop-prod-web`.
    pub name: String,
    /// Its server groups.
    #[serde(default)]
    pub server_groups: Vec<ServerGroup>,
}

/// One server group as it stands when the cloud is seeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerGroup {
    /// The full name, `shop-prod-web-v012`.
    pub name: String,
    /// Id or name of its image; created if it does not exist. Default: `<cluster>-base`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How many instances; default 1.
    #[serde(default)]
    pub capacity: Capacity,
    /// False: out of its target groups and its processes suspended, as `disableServerGroup` leaves it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Names of its target groups; created if they do not exist.
    #[serde(default)]
    pub target_groups: Vec<String>,
}

/// A number of instances, or bounds and a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Capacity {
    /// The same for all three.
    Fixed(u32),
    /// Bounds and the wish between them.
    Bounds {
        /// Fewest.
        min: u32,
        /// Wanted.
        desired: u32,
        /// Most.
        max: u32,
    },
}

impl Default for Capacity {
    fn default() -> Self {
        Self::Fixed(1)
    }
}

impl Capacity {
    /// Fewest, wanted, most.
    #[must_use]
    pub fn bounds(self) -> (u32, u32, u32) {
        match self {
            Self::Fixed(number) => (number, number, number),
            Self::Bounds { min, desired, max } => (min, desired, max),
        }
    }
}

/// How instances of an image behave. `id` names one image, `name` is a pattern with `*` and `?` that also holds for
/// images baked later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// The image's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A pattern of names. Without `*` and `?`, and without `id`, the image is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tags of the created image.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub tags: serde_json::Map<String, serde_json::Value>,
    /// False: its instances never become healthy.
    #[serde(default = "yes")]
    pub healthy: bool,
    /// True: healthy, but its metrics are bad; what a canary is to find. Default: not `healthy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<bool>,
    /// From launch to in service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_seconds: Option<f64>,
    /// Changes of single metrics, by metric name: any field of [`Metric`].
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metrics: serde_json::Map<String, serde_json::Value>,
}

/// A CloudWatch metric with the dimension `AutoScalingGroupName`: normally distributed values, one a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metric {
    /// CloudWatch namespace.
    pub namespace: String,
    /// Metric name.
    pub name: String,
    /// Mean of the values of a good image.
    pub mean: f64,
    /// Standard deviation.
    #[serde(default)]
    pub deviation: f64,
    /// Mean of the values of a bad or degraded image; default: `mean`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_mean: Option<f64>,
    /// Name of the dimension that carries the group's name; default `AutoScalingGroupName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<String>,
    /// CloudWatch unit; default `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl World {
    /// Reads and checks a world file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::Input`] with line and column when it is not a world file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
        Self::parse(&text, &format!("world file `{}`", path.display()))
    }

    /// Parses and checks the text of a world file; `what` names it in messages.
    ///
    /// # Errors
    /// [`Error::Input`].
    pub fn parse(text: &str, what: &str) -> Result<Self, Error> {
        let input = |reason: String| Error::Input {
            what: what.to_owned(),
            reason,
        };
        let world: Self = serde_json::from_str(text).map_err(|error| input(error.to_string()))?;
        for group in world
            .clusters
            .iter()
            .flat_map(|cluster| &cluster.server_groups)
        {
            let (min, desired, max) = group.capacity.bounds();
            if !(min <= desired && desired <= max) {
                return Err(input(format!(
                    "server group `{}`: min {min}, desired {desired}, max {max} are not in order",
                    group.name
                )));
            }
        }
        for image in &world.images {
            if image.id.is_none() && image.name.is_none() {
                return Err(input("an image has neither `id` nor `name`".to_owned()));
            }
            if image
                .boot_seconds
                .is_some_and(|seconds| !(0.0..=3600.0).contains(&seconds))
            {
                return Err(input("`bootSeconds` is not between 0 and 3600".to_owned()));
            }
        }
        Ok(world)
    }
}

fn yes() -> bool {
    true
}

fn default_account() -> String {
    "test".to_owned()
}

fn default_region() -> String {
    "us-east-1".to_owned()
}
