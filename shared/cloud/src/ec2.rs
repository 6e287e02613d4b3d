//! The port to EC2's own API. Its adapter is `gennaker-cloud-ec2`: the SDK crate is so large that only functions that
//! read images, launch templates, subnets or security groups link it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gennaker_domain::Run;

use crate::auto_scaling::TemplateVersion;
use crate::{Account, CloudError};

/// A machine image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// `ami-…`
    pub id: String,
    /// Name, unique for its owner in the region.
    pub name: String,
    /// Id of the account that owns it, twelve digits.
    pub owner: String,
    /// AWS's name for an owner that it vouches for: `amazon`, `aws-marketplace`, `aws-backup-vault`.
    pub owner_alias: Option<String>,
    /// Whether everybody may launch it. Anybody can make such an image, under any name.
    pub public: bool,
    /// `available`, `pending`, `failed`, …
    pub state: String,
    /// When it was created, as EC2 writes it (ISO 8601, so that the texts sort by time).
    pub created: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// An image, as somebody names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRef {
    /// By its id, which has small letters, however somebody wrote it.
    Id(String),
    /// By its name.
    Name(String),
}

impl ImageRef {
    /// What a text names: an id if it is `ami-` and letters and digits alone, else a name.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let (begin, id) = text.split_at_checked(4).unwrap_or((text, ""));
        let is_id = begin.eq_ignore_ascii_case("ami-")
            && !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_id {
            Self::Id(text.to_ascii_lowercase())
        } else {
            Self::Name(text.to_owned())
        }
    }

    /// The id or the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Id(text) | Self::Name(text) => text,
        }
    }

    /// Whether the image is meant.
    #[must_use]
    pub fn is(&self, image: &Image) -> bool {
        match self {
            Self::Id(id) => image.id == *id,
            Self::Name(name) => image.name == *name,
        }
    }
}

impl std::fmt::Display for ImageRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-…`
    pub id: String,
    /// The VPC.
    pub vpc_id: String,
    /// Availability zone.
    pub zone: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// A security group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityGroup {
    /// `sg-…`
    pub id: String,
    /// Name, unique in its VPC.
    pub name: String,
    /// The VPC.
    pub vpc_id: Option<String>,
}

/// What instances are launched from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaunchData {
    /// Image id.
    pub image: String,
    /// Instance type.
    pub instance_type: String,
    /// Name or ARN of the instance profile.
    pub instance_profile: Option<String>,
    /// Key pair.
    pub key_pair: Option<String>,
    /// Security group ids.
    pub security_groups: Vec<String>,
    /// User data, base 64.
    pub user_data: Option<String>,
    /// EBS-optimised.
    pub ebs_optimized: bool,
    /// Detailed monitoring.
    pub monitoring: bool,
    /// Public address; none is as the subnet says.
    pub public_address: Option<bool>,
    /// Metadata only by version 2 of its service.
    pub require_imds_v2: bool,
    /// Highest Spot price; none is on demand.
    pub spot_price: Option<String>,
    /// Block devices.
    pub block_devices: Vec<BlockDevice>,
    /// Tags of the volumes.
    pub volume_tags: BTreeMap<String, String>,
    /// Kernel of a paravirtual image.
    pub kernel: Option<String>,
    /// RAM disk of a paravirtual image.
    pub ramdisk: Option<String>,
    /// An IPv6 address for each instance.
    pub ipv6_address: bool,
    /// CPU credits of burstable types: unlimited or standard; none is as the type has it.
    pub unlimited_cpu_credits: Option<bool>,
    /// Nitro Enclaves.
    pub enclave: bool,
    /// ARNs of license configurations.
    pub licenses: Vec<String>,
    /// Where on the hardware.
    pub placement: Option<Placement>,
}

/// Where on the hardware instances run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// `default` or `host`.
    pub affinity: Option<String>,
    /// Availability zone.
    pub zone: Option<String>,
    /// Placement group.
    pub group: Option<String>,
    /// Dedicated host.
    pub host: Option<String>,
    /// `default`, `dedicated` or `host`.
    pub tenancy: Option<String>,
    /// ARN of a group of dedicated hosts.
    pub host_resource_group: Option<String>,
    /// Partition of the placement group.
    pub partition: Option<i32>,
}

/// A block device of a launch template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDevice {
    /// Such as `/dev/sdb`.
    pub device: String,
    /// Instance store, such as `ephemeral0`; all others are EBS.
    pub virtual_name: Option<String>,
    /// Gibibytes.
    pub size_gib: Option<i32>,
    /// Such as `gp3`.
    pub volume_type: Option<String>,
    /// Deleted with its instance.
    pub delete_on_termination: Option<bool>,
    /// I/O operations a second.
    pub iops: Option<i32>,
    /// MiB a second.
    pub throughput: Option<i32>,
    /// Snapshot it starts from.
    pub snapshot: Option<String>,
    /// Encrypted.
    pub encrypted: Option<bool>,
    /// Key it is encrypted with.
    pub kms_key: Option<String>,
}

/// As many images a search answers: 20 pages of 1,000. A function that read more of them would run out of memory or of
/// time, and whoever means so many means another name.
pub const MOST_IMAGES: usize = 20_000;

/// The refusal of a search that finds more than [`MOST_IMAGES`].
#[must_use]
pub fn too_many_images(pattern: &str) -> CloudError {
    CloudError::Refused {
        operation: "ec2:DescribeImages".to_owned(),
        resource: pattern.to_owned(),
        code: "TooManyImages".to_owned(),
        message: format!("more than {MOST_IMAGES} images have such a name"),
        request_id: "none".to_owned(),
    }
}

/// The calls to EC2 that stages need.
#[async_trait]
pub trait Ec2: Send + Sync {
    /// Images of these ids; one that is not there is left out. (`ec2:DescribeImages`)
    async fn images(&self, ids: &[String]) -> Result<Vec<Image>, CloudError>;

    /// Images of this name that the account may launch: its own, those shared with it, and everybody's public ones.
    /// (`ec2:DescribeImages`)
    async fn images_named(&self, name: &str) -> Result<Vec<Image>, CloudError>;

    /// Images of these owners whose names match a pattern: `*` stands for any text, `?` for one character, all else for
    /// itself. Owners are account ids, `self`, or Amazon's own names such as `amazon`. Refused with
    /// `TooManyImages` where there are more than [`MOST_IMAGES`]. (`ec2:DescribeImages`)
    async fn images_matching(
        &self,
        pattern: &str,
        owners: &[String],
    ) -> Result<Vec<Image>, CloudError>;

    /// The images that the account itself owns of this id or name: none that others share with it, and none that are
    /// public. (`ec2:DescribeImages`)
    async fn own_images(&self, image: &ImageRef) -> Result<Vec<Image>, CloudError>;

    /// Permits another account to launch from an image that this account owns. Again is the same. Refused where the
    /// image's snapshots are encrypted with the key that AWS manages. (`ec2:ModifyImageAttribute`)
    async fn share_image(&self, image: &str, account_id: &str) -> Result<(), CloudError>;

    /// Gives an image these tags, over those of the same keys; every account has its own tags of an image. Again is the
    /// same. (`ec2:CreateTags`)
    async fn tag_image(
        &self,
        image: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), CloudError>;

    /// Takes the tags of these keys off an image, of those that this account gave it. Again is the same.
    /// (`ec2:DeleteTags`)
    async fn untag_image(&self, image: &str, keys: &[String]) -> Result<(), CloudError>;

    /// All subnets of the account in the region. (`ec2:DescribeSubnets`)
    async fn subnets(&self) -> Result<Vec<Subnet>, CloudError>;

    /// All security groups of the account in the region. (`ec2:DescribeSecurityGroups`)
    async fn security_groups(&self) -> Result<Vec<SecurityGroup>, CloudError>;

    /// The names of all key pairs of the account in the region. (`ec2:DescribeKeyPairs`)
    async fn key_pairs(&self) -> Result<Vec<String>, CloudError>;

    /// Those of these instance types that the region offers, and with them the others of their families (`t3.…` of
    /// `t3.small`): what there is for whoever asks for one that is not. (`ec2:DescribeInstanceTypeOfferings`)
    async fn instance_types(&self, names: &[String]) -> Result<Vec<String>, CloudError>;

    /// How many vCPUs an instance of each of these types has; a type that is not there is left out.
    /// (`ec2:DescribeInstanceTypes`)
    async fn vcpus(&self, types: &[String]) -> Result<BTreeMap<String, u32>, CloudError>;

    /// The version of a launch template that has this description, if there is one.
    /// (`ec2:DescribeLaunchTemplateVersions`)
    async fn template_version(
        &self,
        name: &str,
        description: &str,
    ) -> Result<Option<TemplateVersion>, CloudError>;

    /// Makes a version of a launch template, and the template if there is none. A second call with the same token is
    /// the same version. (`ec2:CreateLaunchTemplate`, `ec2:CreateLaunchTemplateVersion`, `ec2:CreateTags`)
    async fn create_template_version(
        &self,
        name: &str,
        description: &str,
        token: &str,
        data: &LaunchData,
        tags: &BTreeMap<String, String>,
    ) -> Result<TemplateVersion, CloudError>;

    /// What a version of a launch template launches; none where the version is gone.
    /// (`ec2:DescribeLaunchTemplateVersions`)
    async fn template_data(
        &self,
        template: &TemplateVersion,
    ) -> Result<Option<LaunchData>, CloudError>;

    /// Image id of a version of a launch template; none where the version is gone or has none.
    /// (`ec2:DescribeLaunchTemplateVersions`)
    async fn template_image(
        &self,
        template: &TemplateVersion,
    ) -> Result<Option<String>, CloudError>;

    /// Deletes a version of a launch template, and the template if it has no other. Answers whether it is gone: the
    /// default version of a template that has others stays. One that is not there is gone.
    /// (`ec2:DescribeLaunchTemplateVersions`, `ec2:DeleteLaunchTemplateVersions`, `ec2:DeleteLaunchTemplate`)
    async fn delete_template_version(&self, template: &TemplateVersion)
    -> Result<bool, CloudError>;
}

/// The calls of [`Ec2`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "Ec2":
        IMAGES = "images" => ["ec2:DescribeImages"];
        IMAGES_NAMED = "images_named" => ["ec2:DescribeImages"];
        IMAGES_MATCHING = "images_matching" => ["ec2:DescribeImages"];
        OWN_IMAGES = "own_images" => ["ec2:DescribeImages"];
        SHARE_IMAGE = "share_image" => ["ec2:ModifyImageAttribute"];
        TAG_IMAGE = "tag_image" => ["ec2:CreateTags"];
        UNTAG_IMAGE = "untag_image" => ["ec2:DeleteTags"];
        SUBNETS = "subnets" => ["ec2:DescribeSubnets"];
        SECURITY_GROUPS = "security_groups" => ["ec2:DescribeSecurityGroups"];
        KEY_PAIRS = "key_pairs" => ["ec2:DescribeKeyPairs"];
        INSTANCE_TYPES = "instance_types" => ["ec2:DescribeInstanceTypeOfferings"];
        VCPUS = "vcpus" => ["ec2:DescribeInstanceTypes"];
        TEMPLATE_VERSION = "template_version" => ["ec2:DescribeLaunchTemplateVersions"];
        CREATE_TEMPLATE_VERSION = "create_template_version" => ["ec2:CreateLaunchTemplate", "ec2:CreateLaunchTemplateVersion", "ec2:CreateTags"];
        TEMPLATE_DATA = "template_data" => ["ec2:DescribeLaunchTemplateVersions"];
        TEMPLATE_IMAGE = "template_image" => ["ec2:DescribeLaunchTemplateVersions"];
        DELETE_TEMPLATE_VERSION = "delete_template_version" => ["ec2:DescribeLaunchTemplateVersions", "ec2:DeleteLaunchTemplateVersions", "ec2:DeleteLaunchTemplate"];
    }
}

/// Makes the port of an account and region. Makes no call.
#[async_trait]
pub trait Ec2Clouds: Send + Sync {
    /// EC2 of that account in that region.
    async fn ec2(&self, account: &Account, region: &str, run: &Run) -> Arc<dyn Ec2>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_its_id_or_by_its_name() {
        for (text, named) in [
            ("ami-0abc", ImageRef::Id("ami-0abc".to_owned())),
            ("AMI-0ABC", ImageRef::Id("ami-0abc".to_owned())),
            ("ami-shop-1.2", ImageRef::Name("ami-shop-1.2".to_owned())),
            ("ami-", ImageRef::Name("ami-".to_owned())),
            ("shop", ImageRef::Name("shop".to_owned())),
            ("äöü", ImageRef::Name("äöü".to_owned())),
        ] {
            assert_eq!(ImageRef::of(text), named);
        }
    }
}
