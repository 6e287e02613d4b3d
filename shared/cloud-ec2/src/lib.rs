#![doc = include_str!("../README.md")]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::RequestId;
use aws_sdk_ec2::types as sdk;
use gennaker_cloud::auto_scaling::TemplateVersion;
use gennaker_cloud::ec2::{
    BlockDevice, Image, ImageRef, LaunchData, MOST_IMAGES, Placement, SecurityGroup, Subnet,
    too_many_images,
};
use gennaker_cloud::error::from_sdk;
use gennaker_cloud::{Account, CloudError, Connection, Ec2, Ec2Clouds, Lazy};
use gennaker_domain::Run;

/// The most that EC2 answers at once.
const PAGE: i32 = 1_000;

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
        owners: Option<Vec<String>>,
        wanted: sdk::Filter,
        resource: &str,
    ) -> Result<Vec<Image>, CloudError> {
        let output = self
            .client
            .describe_images()
            .set_owners(owners)
            .filters(wanted)
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
        owner: image.owner_id().unwrap_or_default().to_owned(),
        owner_alias: image.image_owner_alias().map(str::to_owned),
        public: image.public().unwrap_or_default(),
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
    // An address can only be asked for on a network interface, which then carries the security groups.
    let interface = (data.public_address.is_some() || data.ipv6_address).then(|| {
        sdk::LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
            .device_index(0)
            .set_associate_public_ip_address(data.public_address)
            .set_ipv6_address_count(data.ipv6_address.then_some(1))
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
    let volume_tags = (!data.volume_tags.is_empty()).then(|| {
        let tags = data
            .volume_tags
            .iter()
            .map(|(key, value)| sdk::Tag::builder().key(key).value(value).build())
            .collect();
        vec![
            sdk::LaunchTemplateTagSpecificationRequest::builder()
                .resource_type(sdk::ResourceType::Volume)
                .set_tags(Some(tags))
                .build(),
        ]
    });
    let credits = data.unlimited_cpu_credits.map(|unlimited| {
        let credits = if unlimited { "unlimited" } else { "standard" };
        sdk::CreditSpecificationRequest::builder()
            .cpu_credits(credits)
            .build()
    });
    let licenses: Vec<_> = data
        .licenses
        .iter()
        .map(|arn| {
            sdk::LaunchTemplateLicenseConfigurationRequest::builder()
                .license_configuration_arn(arn)
                .build()
        })
        .collect();
    let placement = data.placement.as_ref().map(|placement| {
        sdk::LaunchTemplatePlacementRequest::builder()
            .set_affinity(placement.affinity.clone())
            .set_availability_zone(placement.zone.clone())
            .set_group_name(placement.group.clone())
            .set_host_id(placement.host.clone())
            .set_tenancy(placement.tenancy.as_deref().map(sdk::Tenancy::from))
            .set_host_resource_group_arn(placement.host_resource_group.clone())
            .set_partition_number(placement.partition)
            .build()
    });
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
        .set_tag_specifications(volume_tags)
        .set_kernel_id(data.kernel.clone())
        .set_ram_disk_id(data.ramdisk.clone())
        .set_credit_specification(credits)
        .set_enclave_options(data.enclave.then(|| {
            sdk::LaunchTemplateEnclaveOptionsRequest::builder()
                .enabled(true)
                .build()
        }))
        .set_license_specifications((!licenses.is_empty()).then_some(licenses))
        .set_placement(placement)
        .build()
}

/// What a version launches, as far as a pipeline can say it.
fn launch_data_of(data: &sdk::ResponseLaunchTemplateData) -> LaunchData {
    let text = |value: Option<&str>| value.map(str::to_owned);
    let interface = data.network_interfaces().first();
    let groups = interface
        .map(|interface| interface.groups())
        .filter(|groups| !groups.is_empty())
        .unwrap_or_else(|| data.security_group_ids());
    let profile = data.iam_instance_profile();
    LaunchData {
        image: data.image_id().unwrap_or_default().to_owned(),
        instance_type: data
            .instance_type()
            .map_or_else(String::new, |kind| kind.as_str().to_owned()),
        instance_profile: profile.and_then(|profile| text(profile.name().or(profile.arn()))),
        key_pair: text(data.key_name()),
        security_groups: groups.to_vec(),
        user_data: text(data.user_data()),
        ebs_optimized: data.ebs_optimized().unwrap_or(false),
        monitoring: data
            .monitoring()
            .and_then(|monitoring| monitoring.enabled())
            .unwrap_or(false),
        public_address: interface.and_then(|i| i.associate_public_ip_address()),
        require_imds_v2: data.metadata_options().is_some_and(|options| {
            options.http_tokens() == Some(&sdk::LaunchTemplateHttpTokensState::Required)
        }),
        spot_price: data
            .instance_market_options()
            .and_then(|market| market.spot_options())
            .and_then(|spot| text(spot.max_price())),
        block_devices: data
            .block_device_mappings()
            .iter()
            .map(|device| {
                let ebs = device.ebs();
                BlockDevice {
                    device: device.device_name().unwrap_or_default().to_owned(),
                    virtual_name: text(device.virtual_name()),
                    size_gib: ebs.and_then(|ebs| ebs.volume_size()),
                    volume_type: ebs
                        .and_then(|ebs| ebs.volume_type())
                        .map(|kind| kind.as_str().to_owned()),
                    delete_on_termination: ebs.and_then(|ebs| ebs.delete_on_termination()),
                    iops: ebs.and_then(|ebs| ebs.iops()),
                    throughput: ebs.and_then(|ebs| ebs.throughput()),
                    snapshot: ebs.and_then(|ebs| text(ebs.snapshot_id())),
                    encrypted: ebs.and_then(|ebs| ebs.encrypted()),
                    kms_key: ebs.and_then(|ebs| text(ebs.kms_key_id())),
                }
            })
            .collect(),
        volume_tags: data
            .tag_specifications()
            .iter()
            .filter(|tags| tags.resource_type() == Some(&sdk::ResourceType::Volume))
            .flat_map(|tags| tags_of(tags.tags()))
            .collect(),
        kernel: text(data.kernel_id()),
        ramdisk: text(data.ram_disk_id()),
        ipv6_address: interface
            .and_then(|i| i.ipv6_address_count())
            .is_some_and(|count| count > 0),
        unlimited_cpu_credits: data
            .credit_specification()
            .and_then(|credits| credits.cpu_credits())
            .map(|credits| credits == "unlimited"),
        enclave: data
            .enclave_options()
            .and_then(|enclave| enclave.enabled())
            .unwrap_or(false),
        licenses: data
            .license_specifications()
            .iter()
            .filter_map(|license| text(license.license_configuration_arn()))
            .collect(),
        placement: data.placement().map(|placement| Placement {
            affinity: text(placement.affinity()),
            zone: text(placement.availability_zone()),
            group: text(placement.group_name()),
            host: text(placement.host_id()),
            tenancy: placement.tenancy().map(|kind| kind.as_str().to_owned()),
            host_resource_group: text(placement.host_resource_group_arn()),
            partition: placement.partition_number(),
        }),
    }
}

#[async_trait]
impl Ec2 for AwsEc2 {
    async fn images(&self, ids: &[String]) -> Result<Vec<Image>, CloudError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // By filter: an id that is not there would fail the whole call.
        let wanted = sdk::Filter::builder()
            .name("image-id")
            .set_values(Some(ids.to_vec()))
            .build();
        self.describe_images(None, wanted, &ids.join(", ")).await
    }

    async fn images_named(&self, name: &str) -> Result<Vec<Image>, CloudError> {
        let images = self
            .describe_images(None, filter("name", &literal(name)), name)
            .await?;
        Ok(images
            .into_iter()
            .filter(|image| image.name == name)
            .collect())
    }

    async fn own_images(&self, image: &ImageRef) -> Result<Vec<Image>, CloudError> {
        let wanted = match image {
            ImageRef::Id(id) => filter("image-id", id),
            ImageRef::Name(name) => filter("name", &literal(name)),
        };
        let own = Some(vec!["self".to_owned()]);
        let mut found = self.describe_images(own, wanted, image.as_str()).await?;
        found.retain(|found| image.is(found));
        Ok(found)
    }

    async fn share_image(&self, image: &str, account_id: &str) -> Result<(), CloudError> {
        let whom = sdk::LaunchPermission::builder().user_id(account_id).build();
        let added = sdk::LaunchPermissionModifications::builder().add(whom);
        self.client
            .modify_image_attribute()
            .image_id(image)
            .launch_permission(added.build())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("ec2:ModifyImageAttribute", image, &error))
    }

    async fn tag_image(
        &self,
        image: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), CloudError> {
        if tags.is_empty() {
            return Ok(());
        }
        let tag = |(key, value)| sdk::Tag::builder().key(key).value(value).build();
        self.client
            .create_tags()
            .resources(image)
            .set_tags(Some(tags.iter().map(tag).collect()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("ec2:CreateTags", image, &error))
    }

    async fn untag_image(&self, image: &str, keys: &[String]) -> Result<(), CloudError> {
        // Without any key EC2 takes off all tags.
        if keys.is_empty() {
            return Ok(());
        }
        let tags = keys.iter().map(|key| sdk::Tag::builder().key(key).build());
        self.client
            .delete_tags()
            .resources(image)
            .set_tags(Some(tags.collect()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("ec2:DeleteTags", image, &error))
    }

    async fn images_matching(
        &self,
        pattern: &str,
        owners: &[String],
    ) -> Result<Vec<Image>, CloudError> {
        let wanted = filter("name", &pattern.replace('\\', "\\\\"));
        let mut images = Vec::new();
        let mut token = None;
        loop {
            let output = self
                .client
                .describe_images()
                .set_owners(Some(owners.to_vec()))
                .filters(wanted.clone())
                .max_results(PAGE)
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| from_sdk("ec2:DescribeImages", pattern, &error))?;
            images.extend(output.images().iter().map(image_of));
            if images.len() > MOST_IMAGES {
                return Err(too_many_images(pattern));
            }
            token = output
                .next_token()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            if token.is_none() {
                return Ok(images);
            }
        }
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

    async fn key_pairs(&self) -> Result<Vec<String>, CloudError> {
        let output = self
            .client
            .describe_key_pairs()
            .send()
            .await
            .map_err(|error| from_sdk("ec2:DescribeKeyPairs", "all key pairs", &error))?;
        let names = output.key_pairs().iter().filter_map(|pair| pair.key_name());
        Ok(names.map(str::to_owned).collect())
    }

    async fn instance_types(&self, names: &[String]) -> Result<Vec<String>, CloudError> {
        // The types themselves too: the emulators' filters know no wildcards.
        let families = names.iter().filter_map(|name| name.split_once('.'));
        let mut wanted: Vec<String> = families
            .map(|(family, _)| format!("{}.*", literal(family)))
            .chain(names.iter().map(|name| literal(name)))
            .collect();
        wanted.sort();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let filter = sdk::Filter::builder()
            .name("instance-type")
            .set_values(Some(wanted))
            .build();
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let output = self
                .client
                .describe_instance_type_offerings()
                .location_type(sdk::LocationType::Region)
                .filters(filter.clone())
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| {
                    from_sdk(
                        "ec2:DescribeInstanceTypeOfferings",
                        &names.join(", "),
                        &error,
                    )
                })?;
            let offered = output.instance_type_offerings().iter();
            found.extend(offered.filter_map(|one| Some(one.instance_type()?.as_str().to_owned())));
            token = output
                .next_token()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    async fn vcpus(&self, types: &[String]) -> Result<BTreeMap<String, u32>, CloudError> {
        // By filter: one that is not there is refused by name.
        let filter = sdk::Filter::builder()
            .name("instance-type")
            .set_values(Some(types.to_vec()))
            .build();
        let output = self
            .client
            .describe_instance_types()
            .filters(filter)
            .send()
            .await
            .map_err(|error| from_sdk("ec2:DescribeInstanceTypes", &types.join(", "), &error))?;
        let cores = |one: &sdk::InstanceTypeInfo| {
            let count = one.v_cpu_info()?.default_v_cpus()?;
            Some((
                one.instance_type()?.as_str().to_owned(),
                u32::try_from(count).ok()?,
            ))
        };
        Ok(output.instance_types().iter().filter_map(cores).collect())
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
        Ok(self
            .template_data(template)
            .await?
            .map(|data| data.image)
            .filter(|image| !image.is_empty()))
    }

    async fn template_data(
        &self,
        template: &TemplateVersion,
    ) -> Result<Option<LaunchData>, CloudError> {
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
                .map(launch_data_of)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete_template_version(
        &self,
        template: &TemplateVersion,
    ) -> Result<bool, CloudError> {
        match self.number(template).await? {
            Number::Gone => Ok(true),
            // EC2 deletes a default version with its template only.
            Number::Default { alone: false } => Ok(false),
            Number::Default { alone: true } => self
                .client
                .delete_launch_template()
                .launch_template_id(&template.id)
                .send()
                .await
                .map(|_| ())
                .map_err(|error| from_sdk("ec2:DeleteLaunchTemplate", &template.id, &error))
                .or_else(|error| is_missing(&error).then_some(()).ok_or(error))
                .map(|()| true),
            Number::Other => self.delete_number(template).await.map(|()| true),
        }
    }
}

/// What a version is among those of its launch template.
enum Number {
    Gone,
    /// The default one; `alone`: there is no other.
    Default {
        alone: bool,
    },
    Other,
}

impl AwsEc2 {
    async fn number(&self, template: &TemplateVersion) -> Result<Number, CloudError> {
        const OPERATION: &str = "ec2:DescribeLaunchTemplateVersions";
        let versions = async |only: Option<String>| {
            let answer = self
                .client
                .describe_launch_template_versions()
                .launch_template_id(&template.id)
                .set_versions(only.map(|version| vec![version]))
                .send()
                .await
                .map_err(|error| from_sdk(OPERATION, &template.id, &error));
            match answer {
                Ok(output) => Ok(output.launch_template_versions().to_vec()),
                Err(error) if is_missing(&error) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        };
        let found = versions(Some(template.version.clone())).await?;
        Ok(match found.first() {
            None => Number::Gone,
            Some(version) if version.default_version() == Some(true) => Number::Default {
                alone: versions(None).await?.len() < 2,
            },
            Some(_) => Number::Other,
        })
    }

    /// Deletes a version that is not the default one.
    async fn delete_number(&self, template: &TemplateVersion) -> Result<(), CloudError> {
        const OPERATION: &str = "ec2:DeleteLaunchTemplateVersions";
        let resource = format!("{} version {}", template.id, template.version);
        let output = self
            .client
            .delete_launch_template_versions()
            .launch_template_id(&template.id)
            .versions(&template.version)
            .send()
            .await
            .map_err(|error| from_sdk(OPERATION, &resource, &error))?;
        // What could not be deleted is told in an answer that succeeded.
        let refused = output.unsuccessfully_deleted_launch_template_versions();
        let Some(why) = refused.first().and_then(|one| one.response_error()) else {
            return Ok(());
        };
        let code = why.code().map_or("", |code| code.as_str());
        if code.ends_with("DoesNotExist") {
            return Ok(());
        }
        Err(CloudError::Refused {
            operation: OPERATION.to_owned(),
            resource,
            code: code.to_owned(),
            message: why.message().unwrap_or_default().to_owned(),
            request_id: output.request_id().unwrap_or("unknown").to_owned(),
        })
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
