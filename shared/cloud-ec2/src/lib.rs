#![doc = include_str!("../README.md")]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types as sdk;
use gennaker_cloud::auto_scaling::TemplateVersion;
use gennaker_cloud::ec2::{BlockDevice, Image, LaunchData, SecurityGroup, Subnet};
use gennaker_cloud::error::from_sdk;
use gennaker_cloud::{Account, CloudError, Connection, Ec2, Ec2Clouds, Lazy};
use gennaker_domain::Run;

/// EC2 in one account and region.
#[derive(Clone, Debug)]
pub struct AwsEc2 {
    client: Lazy<Client>,
}

impl AwsEc2 {
    /// In the connection's account and region. Makes no call.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client(Client::new),
        }
    }

    async fn describe_images(
        &self,
        ids: Option<Vec<String>>,
        filters: Option<Vec<sdk::Filter>>,
        resource: &str,
    ) -> Result<Vec<Image>, CloudError> {
        let output = self
            .client
            .describe_images()
            .set_image_ids(ids)
            .set_filters(filters)
            .send()
            .await
            .map_err(|error| from_sdk("ec2:DescribeImages", resource, &error))?;
        Ok(output.images().iter().map(image_of).collect())
    }
}

/// EC2 in every account and region that a connection reaches.
#[derive(Clone, Debug)]
pub struct AwsEc2Clouds {
    connection: Connection,
}

impl AwsEc2Clouds {
    /// Over this connection, with the role of each account.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
        }
    }
}

#[async_trait]
impl Ec2Clouds for AwsEc2Clouds {
    async fn ec2(&self, account: &Account, region: &str, run: &Run) -> Arc<dyn Ec2> {
        let connection = account.connection(&self.connection, region, run).await;
        Arc::new(AwsEc2::new(&connection))
    }
}

fn tags_of(tags: &[sdk::Tag]) -> BTreeMap<String, String> {
    tags.iter()
        .filter_map(|tag| {
            Some((
                tag.key()?.to_owned(),
                tag.value().unwrap_or_default().to_owned(),
            ))
        })
        .collect()
}

fn image_of(image: &sdk::Image) -> Image {
    Image {
        id: image.image_id().unwrap_or_default().to_owned(),
        name: image.name().unwrap_or_default().to_owned(),
        state: image
            .state()
            .map_or_else(String::new, |state| state.as_str().to_owned()),
        created: image.creation_date().unwrap_or_default().to_owned(),
        tags: tags_of(image.tags()),
    }
}

fn filter(name: &str, value: &str) -> sdk::Filter {
    sdk::Filter::builder().name(name).values(value).build()
}

/// `*` and `?` are wildcards in a filter's value, and `\` escapes them.
fn literal(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '*' | '?' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn tag_specification(tags: &BTreeMap<String, String>) -> Option<sdk::TagSpecification> {
    if tags.is_empty() {
        return None;
    }
    let tags = tags
        .iter()
        .map(|(key, value)| sdk::Tag::builder().key(key).value(value).build())
        .collect();
    Some(
        sdk::TagSpecification::builder()
            .resource_type(sdk::ResourceType::LaunchTemplate)
            .set_tags(Some(tags))
            .build(),
    )
}

fn block_device(device: &BlockDevice) -> sdk::LaunchTemplateBlockDeviceMappingRequest {
    let ebs = device.virtual_name.is_none().then(|| {
        sdk::LaunchTemplateEbsBlockDeviceRequest::builder()
            .set_volume_size(device.size_gib)
            .set_volume_type(device.volume_type.as_deref().map(sdk::VolumeType::from))
            .set_delete_on_termination(device.delete_on_termination)
            .set_iops(device.iops)
            .set_throughput(device.throughput)
            .set_snapshot_id(device.snapshot.clone())
            .set_encrypted(device.encrypted)
            .set_kms_key_id(device.kms_key.clone())
            .build()
    });
    sdk::LaunchTemplateBlockDeviceMappingRequest::builder()
        .device_name(&device.device)
        .set_virtual_name(device.virtual_name.clone())
        .set_ebs(ebs)
        .build()
}

fn launch_data(data: &LaunchData) -> sdk::RequestLaunchTemplateData {
    let profile = data.instance_profile.as_deref().map(|profile| {
        let builder = sdk::LaunchTemplateIamInstanceProfileSpecificationRequest::builder();
        if profile.starts_with("arn:") {
            builder.arn(profile).build()
        } else {
            builder.name(profile).build()
        }
    });
    // A public address can only be asked for on a network interface, which then carries the security groups.
    let interface = data.public_address.map(|public| {
        sdk::LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
            .device_index(0)
            .associate_public_ip_address(public)
            .set_groups(Some(data.security_groups.clone()))
            .build()
    });
    let security_groups = (interface.is_none() && !data.security_groups.is_empty())
        .then(|| data.security_groups.clone());
    let spot = data.spot_price.as_deref().map(|price| {
        sdk::LaunchTemplateInstanceMarketOptionsRequest::builder()
            .market_type(sdk::MarketType::Spot)
            .spot_options(
                sdk::LaunchTemplateSpotMarketOptionsRequest::builder()
                    .max_price(price)
                    .build(),
            )
            .build()
    });
    let imds = data.require_imds_v2.then(|| {
        sdk::LaunchTemplateInstanceMetadataOptionsRequest::builder()
            .http_tokens(sdk::LaunchTemplateHttpTokensState::Required)
            .build()
    });
    let devices: Vec<_> = data.block_devices.iter().map(block_device).collect();
    sdk::RequestLaunchTemplateData::builder()
        .image_id(&data.image)
        .instance_type(sdk::InstanceType::from(data.instance_type.as_str()))
        .set_iam_instance_profile(profile)
        .set_key_name(data.key_pair.clone())
        .set_user_data(data.user_data.clone())
        .set_ebs_optimized(data.ebs_optimized.then_some(true))
        .set_monitoring(data.monitoring.then(|| {
            sdk::LaunchTemplatesMonitoringRequest::builder()
                .enabled(true)
                .build()
        }))
        .set_security_group_ids(security_groups)
        .set_network_interfaces(interface.map(|interface| vec![interface]))
        .set_instance_market_options(spot)
        .set_metadata_options(imds)
        .set_block_device_mappings((!devices.is_empty()).then_some(devices))
        .build()
}

#[async_trait]
impl Ec2 for AwsEc2 {
    async fn images(&self, ids: &[String]) -> Result<Vec<Image>, CloudError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // By filter: an id that is not there would fail the whole call.
        let filters = vec![
            sdk::Filter::builder()
                .name("image-id")
                .set_values(Some(ids.to_vec()))
                .build(),
        ];
        self.describe_images(None, Some(filters), &ids.join(", "))
            .await
    }

    async fn images_named(&self, name: &str) -> Result<Vec<Image>, CloudError> {
        let images = self
            .describe_images(None, Some(vec![filter("name", &literal(name))]), name)
            .await?;
        Ok(images
            .into_iter()
            .filter(|image| image.name == name)
            .collect())
    }

    async fn subnets(&self) -> Result<Vec<Subnet>, CloudError> {
        let mut subnets = Vec::new();
        let mut token = None;
        loop {
            let output = self
                .client
                .describe_subnets()
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| from_sdk("ec2:DescribeSubnets", "all subnets", &error))?;
            subnets.extend(output.subnets().iter().map(|subnet| Subnet {
                id: subnet.subnet_id().unwrap_or_default().to_owned(),
                vpc_id: subnet.vpc_id().unwrap_or_default().to_owned(),
                zone: subnet.availability_zone().unwrap_or_default().to_owned(),
                tags: tags_of(subnet.tags()),
            }));
            token = output
                .next_token()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            if token.is_none() {
                return Ok(subnets);
            }
        }
    }

    async fn security_groups(&self) -> Result<Vec<SecurityGroup>, CloudError> {
        let mut groups = Vec::new();
        let mut token = None;
        loop {
            let output = self
                .client
                .describe_security_groups()
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| {
                    from_sdk("ec2:DescribeSecurityGroups", "all security groups", &error)
                })?;
            groups.extend(output.security_groups().iter().map(|group| SecurityGroup {
                id: group.group_id().unwrap_or_default().to_owned(),
                name: group.group_name().unwrap_or_default().to_owned(),
                vpc_id: group.vpc_id().map(str::to_owned),
            }));
            token = output
                .next_token()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            if token.is_none() {
                return Ok(groups);
            }
        }
    }

    async fn template_version(
        &self,
        name: &str,
        description: &str,
    ) -> Result<Option<TemplateVersion>, CloudError> {
        let mut token = None;
        loop {
            let answer = self
                .client
                .describe_launch_template_versions()
                .launch_template_name(name)
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| from_sdk("ec2:DescribeLaunchTemplateVersions", name, &error));
            let output = match answer {
                Ok(output) => output,
                Err(error) if is_missing(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            let found = output
                .launch_template_versions()
                .iter()
                .find(|version| version.version_description() == Some(description));
            if let Some(version) = found {
                return Ok(Some(TemplateVersion {
                    id: version.launch_template_id().unwrap_or_default().to_owned(),
                    version: version.version_number().unwrap_or(1).to_string(),
                }));
            }
            token = output
                .next_token()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            if token.is_none() {
                return Ok(None);
            }
        }
    }

    async fn create_template_version(
        &self,
        name: &str,
        description: &str,
        token: &str,
        data: &LaunchData,
        tags: &BTreeMap<String, String>,
    ) -> Result<TemplateVersion, CloudError> {
        let first = self
            .client
            .create_launch_template()
            .launch_template_name(name)
            .version_description(description)
            .client_token(token)
            .launch_template_data(launch_data(data))
            .set_tag_specifications(tag_specification(tags).map(|tags| vec![tags]))
            .send()
            .await
            .map_err(|error| from_sdk("ec2:CreateLaunchTemplate", name, &error));
        match first {
            Ok(output) => {
                let template = output.launch_template();
                return Ok(TemplateVersion {
                    id: template
                        .and_then(|template| template.launch_template_id())
                        .unwrap_or_default()
                        .to_owned(),
                    version: template
                        .and_then(|template| template.latest_version_number())
                        .unwrap_or(1)
                        .to_string(),
                });
            }
            Err(error) if error.is_code("InvalidLaunchTemplateName.AlreadyExistsException") => {}
            Err(error) => return Err(error),
        }
        let output = self
            .client
            .create_launch_template_version()
            .launch_template_name(name)
            .version_description(description)
            .client_token(token)
            .launch_template_data(launch_data(data))
            .send()
            .await
            .map_err(|error| from_sdk("ec2:CreateLaunchTemplateVersion", name, &error))?;
        let version = output.launch_template_version();
        Ok(TemplateVersion {
            id: version
                .and_then(|version| version.launch_template_id())
                .unwrap_or_default()
                .to_owned(),
            version: version
                .and_then(|version| version.version_number())
                .unwrap_or(1)
                .to_string(),
        })
    }

    async fn template_image(
        &self,
        template: &TemplateVersion,
    ) -> Result<Option<String>, CloudError> {
        let answer = self
            .client
            .describe_launch_template_versions()
            .launch_template_id(&template.id)
            .versions(&template.version)
            .send()
            .await
            .map_err(|error| from_sdk("ec2:DescribeLaunchTemplateVersions", &template.id, &error));
        match answer {
            Ok(output) => Ok(output
                .launch_template_versions()
                .first()
                .and_then(|version| version.launch_template_data())
                .and_then(|data| data.image_id())
                .map(str::to_owned)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether EC2 says that a launch template, or its version, is not there.
fn is_missing(error: &CloudError) -> bool {
    matches!(error, CloudError::Refused { code, .. }
        if code.starts_with("InvalidLaunchTemplate") && code.contains("NotFound"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_pattern() {
        assert_eq!(literal("shop-1.2*"), "shop-1.2\\*");
        assert_eq!(literal("shop"), "shop");
    }

    #[test]
    fn a_public_address_moves_the_security_groups_to_the_interface() {
        let data = LaunchData {
            security_groups: vec!["sg-1".to_owned()],
            public_address: Some(true),
            ..LaunchData::default()
        };
        let with = launch_data(&data);
        assert!(with.security_group_ids().is_empty());
        assert_eq!(with.network_interfaces()[0].groups(), ["sg-1"]);
        let without = launch_data(&LaunchData {
            public_address: None,
            ..data
        });
        assert_eq!(without.security_group_ids(), ["sg-1"]);
        assert!(without.network_interfaces().is_empty());
    }
}
