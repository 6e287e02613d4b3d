//! What a bake stage asks for: the key that says when two bakes are the same, and the variables of its build.

use gennaker_lambda::StageError;
use gennaker_server_groups::config::regions;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::Variables;

/// A bake stage, read once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    /// Regions, those of later deploys included.
    pub regions: Vec<String>,
    /// Packages without versions, as written.
    pub packages: Vec<String>,
    /// Base operating system.
    pub base_os: String,
    /// Label of the base image.
    pub base_label: String,
    /// Image to start from, where the stage names it.
    pub base_ami: Option<String>,
    /// `amiName`, where the stage names it.
    pub ami_name: Option<String>,
    /// End of the image's name.
    pub ami_suffix: String,
    /// Name of the new image.
    pub image_name: String,
    /// `hvm` or `pv`.
    pub vm_type: String,
    /// `ebs` or another.
    pub store_type: String,
    /// Template of the user's own.
    pub template: Option<String>,
    /// Variables file of the user's own.
    pub var_file: Option<String>,
    /// Enhanced networking.
    pub enhanced_networking: bool,
    /// Bakes again though the same was baked before.
    pub rebake: bool,
    /// Upgrades the base image's packages.
    pub upgrade: bool,
    /// Instance type that bakes.
    pub instance_type: Option<String>,
    /// Further variables of the template.
    pub extended: Vec<(String, String)>,
}

fn text(context: &Map<String, Value>, key: &str) -> Option<String> {
    context
        .get(key)
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true") || text == "1",
        Some(Value::Number(number)) => number.as_i64() == Some(1),
        _ => false,
    }
}

/// A time as `20261121140000`, UTC: the suffix of images that name none.
#[must_use]
pub fn suffix(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(
        |_| millis.to_string(),
        |time| time.strftime("%Y%m%d%H%M%S").to_string(),
    )
}

impl Recipe {
    /// Reads the stage's context; `started` names the image where the stage does not.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] for another cloud, without region, or without a package or image name.
    pub fn of(
        context: &Map<String, Value>,
        trigger: &Value,
        later_regions: &[String],
        started: i64,
    ) -> Result<Self, StageError> {
        let provider = text(context, "cloudProviderType").unwrap_or_else(|| "aws".to_owned());
        if provider != "aws" {
            return Err(StageError::invalid(
                "cloudProviderType",
                format!("`{provider}` images are not baked here, only `aws`"),
            ));
        }
        let mut all = regions(context);
        if !is_true(context.get("skipRegionDetection")) && !all.iter().any(|r| r == "global") {
            for region in later_regions {
                if !all.contains(region) {
                    all.push(region.clone());
                }
            }
        }
        if all.is_empty() {
            return Err(StageError::invalid(
                "regions",
                "the stage names no region, and no deploy follows it",
            ));
        }
        let packages: Vec<String> = text(context, "package")
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let ami_name = text(context, "amiName");
        let base_os = text(context, "baseOs").unwrap_or_else(|| "ubuntu".to_owned());
        let ami_suffix = text(context, "amiSuffix").unwrap_or_else(|| suffix(started));
        let Some(first) = ami_name.as_ref().or(packages.first()) else {
            return Err(StageError::invalid(
                "package",
                "the stage names neither a `package` nor an `amiName`",
            ));
        };
        let extended = context
            .get("extendedAttributes")
            .and_then(Value::as_object)
            .map(|attributes| {
                attributes
                    .iter()
                    .filter_map(|(key, value)| match value {
                        Value::String(text) => Some((key.clone(), text.clone())),
                        Value::Number(_) | Value::Bool(_) => Some((key.clone(), value.to_string())),
                        _ => None,
                    })
                    .collect()
            })
            .unwrap_or_default();
        Ok(Self {
            image_name: image_name(first, &ami_suffix, &base_os),
            regions: all,
            base_label: text(context, "baseLabel").unwrap_or_else(|| "release".to_owned()),
            base_ami: text(context, "baseAmi"),
            vm_type: text(context, "vmType").unwrap_or_else(|| "hvm".to_owned()),
            store_type: text(context, "storeType").unwrap_or_else(|| "ebs".to_owned()),
            template: text(context, "templateFileName"),
            var_file: text(context, "varFileName"),
            enhanced_networking: is_true(context.get("enhancedNetworking")),
            rebake: is_true(context.get("rebake")) || is_true(trigger.get("rebake")),
            upgrade: is_true(context.get("upgrade")),
            instance_type: text(context, "instance_type").or_else(|| text(context, "instanceType")),
            packages,
            base_os,
            ami_name,
            ami_suffix,
            extended,
        })
    }

    /// The key of a bake in a region: two bakes with the same key make the same image.
    ///
    /// Rosco's, but that extended attributes count too: without them a changed attribute would find a stale image.
    #[must_use]
    pub fn key(&self, region: &str) -> String {
        let mut key = format!("bake:aws:{}", self.base_os);
        for part in [
            &self.base_ami,
            &self.ami_name,
            &self.template,
            &self.var_file,
        ]
        .into_iter()
        .flatten()
        {
            key.push(':');
            key.push_str(part);
        }
        key.push(':');
        key.push_str(&self.packages.join("|"));
        for (name, value) in &self.extended {
            key.push_str(&format!(":{name}={value}"));
        }
        let networking = if self.enhanced_networking {
            "enhancedNWEnabled"
        } else {
            "enhancedNWDisabled"
        };
        format!("{key}:{region}:{}:{networking}", self.vm_type)
    }

    /// Environment of the build: `PACKER_VARIABLES` with Rosco's names, and the stage's own fields for builds that do
    /// not use Packer.
    #[must_use]
    pub fn variables(&self, region: &str) -> Variables {
        let mut packer = Map::new();
        let mut put = |name: &str, value: &str| {
            if !value.is_empty() {
                packer.insert(name.to_owned(), value.into());
            }
        };
        put("aws_region", region);
        put("aws_target_ami", &self.image_name);
        put("aws_source_ami", self.base_ami.as_deref().unwrap_or(""));
        put(
            "aws_instance_type",
            self.instance_type.as_deref().unwrap_or(""),
        );
        put("packages", &self.packages.join(" "));
        put("upgrade", if self.upgrade { "true" } else { "" });
        for (name, value) in &self.extended {
            put(name, value);
        }
        let mut variables = Variables::from([(
            "PACKER_VARIABLES".to_owned(),
            Value::Object(packer).to_string(),
        )]);
        for (name, value) in [
            ("BAKE_REGION", region),
            ("BAKE_PACKAGE", &self.packages.join(" ")),
            ("BAKE_BASE_OS", &self.base_os),
            ("BAKE_BASE_LABEL", &self.base_label),
            ("BAKE_IMAGE_NAME", &self.image_name),
            ("BAKE_VM_TYPE", &self.vm_type),
            ("BAKE_STORE_TYPE", &self.store_type),
        ] {
            variables.insert(name.to_owned(), value.to_owned());
        }
        variables
    }

    /// What every entry of `deploymentDetails` says.
    #[must_use]
    pub fn detail(&self) -> Map<String, Value> {
        let detail = json!({
            "amiSuffix": self.ami_suffix,
            "baseLabel": self.base_label,
            "baseOs": self.base_os,
            "storeType": self.store_type,
            "vmType": self.vm_type,
            "package": self.packages.join(" "),
            "cloudProviderType": "aws",
            "cloudProvider": "aws",
        });
        let mut detail = detail.as_object().cloned().unwrap_or_default();
        if let Some(base) = &self.base_ami {
            detail.insert("baseAmiId".to_owned(), json!(base));
        }
        detail
    }
}

/// `name-all-suffix-os`, with the characters that an image's name may have, 128 at most.
fn image_name(name: &str, suffix: &str, base_os: &str) -> String {
    format!("{name}-all-{suffix}-{base_os}")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(128)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(context: Value) -> Result<Recipe, StageError> {
        let later = ["eu-west-1".to_owned()];
        Recipe::of(
            context.as_object().unwrap(),
            &Value::Null,
            &later,
            1_800_000_000_000,
        )
    }

    #[test]
    fn bakes_where_later_stages_deploy_too() {
        let recipe = read(json!({"region": "us-east-1", "package": "shop lib"})).unwrap();
        assert_eq!(recipe.regions, ["us-east-1", "eu-west-1"]);
        assert_eq!(recipe.image_name, "shop-all-20270115080000-ubuntu");
        let only = json!({"region": "us-east-1", "package": "shop", "skipRegionDetection": true});
        assert_eq!(read(only).unwrap().regions, ["us-east-1"]);
    }

    #[test]
    fn the_key_leaves_the_time_out_and_takes_attributes_in() {
        let key = |context: Value| read(context).unwrap().key("us-east-1");
        let plain = json!({"region": "us-east-1", "package": "shop lib", "baseOs": "trusty"});
        assert_eq!(
            key(plain),
            "bake:aws:trusty:shop|lib:us-east-1:hvm:enhancedNWDisabled"
        );
        let suffix = json!({"region": "r", "package": "shop", "amiSuffix": "1"});
        assert_eq!(key(suffix), key(json!({"region": "r", "package": "shop"})));
        let attribute = json!({"region": "r", "package": "shop", "extendedAttributes": {"a": 1}});
        assert_ne!(
            key(attribute),
            key(json!({"region": "r", "package": "shop"}))
        );
    }

    #[test]
    fn the_build_gets_roscos_names() {
        let recipe = read(json!({
            "region": "us-east-1", "package": "shop", "baseAmi": "ami-1", "extendedAttributes": {"x": "y"},
        }))
        .unwrap();
        let variables = recipe.variables("us-east-1");
        let packer: Value = serde_json::from_str(&variables["PACKER_VARIABLES"]).unwrap();
        assert_eq!(packer["aws_source_ami"], "ami-1");
        assert_eq!(packer["x"], "y");
        assert_eq!(variables["BAKE_PACKAGE"], "shop");
    }

    #[test]
    fn what_cannot_be_baked_is_told() {
        for (context, word) in [
            (json!({"region": "r"}), "package"),
            (
                json!({"region": "r", "package": "x", "cloudProviderType": "gce"}),
                "gce",
            ),
        ] {
            assert!(read(context).unwrap_err().to_string().contains(word));
        }
        let nowhere = json!({"package": "x", "skipRegionDetection": true});
        assert!(read(nowhere).unwrap_err().to_string().contains("regions"));
    }
}
