//! Names in a pipeline become ids in an account: subnets, security groups, target groups. All pure; what
//! exists comes in as arguments, and an error names what exists.

use gennaker_cloud::classic_load_balancing::LoadBalancer;
use gennaker_cloud::ec2::{SecurityGroup, Subnet};
use gennaker_cloud::load_balancing::TargetGroup;
use gennaker_lambda::StageError;
use serde_json::Value;

/// The most names that an error lists.
const LISTED: usize = 20;

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    all.sort_unstable();
    all.dedup();
    match all.len() {
        0 => "there are none".to_owned(),
        n if n > LISTED => format!(
            "there are {}, and {} more",
            all.iter()
                .take(LISTED)
                .copied()
                .collect::<Vec<_>>()
                .join(", "),
            n - LISTED
        ),
        _ => format!("there are {}", all.join(", ")),
    }
}

/// The same refusal, saying in which account and region.
#[must_use]
pub fn placed(config: &crate::config::Config, error: StageError) -> StageError {
    let place = format!("{}/{}", config.account, config.region);
    match error {
        StageError::InvalidConfiguration { field, message } if !message.contains(&place) => {
            StageError::InvalidConfiguration {
                field,
                message: format!("{message}, in {place}"),
            }
        }
        other => other,
    }
}

/// The purpose of a subnet: `purpose` in its tag `immutable_metadata`, or, by its name `vpc.purpose.zone`,
/// `purpose (vpc)`. Subnets for load balancers (`target` is `elb`) have none.
#[must_use]
pub fn purpose(subnet: &Subnet) -> Option<String> {
    if let Some(metadata) = subnet.tags.get("immutable_metadata") {
        let metadata: Value = serde_json::from_str(metadata).ok()?;
        let target = metadata.get("target").and_then(Value::as_str);
        if target.is_some_and(|target| target != "ec2") {
            return None;
        }
        return metadata
            .get("purpose")
            .and_then(Value::as_str)
            .map(str::to_owned);
    }
    let name = subnet.tags.get("Name")?;
    let mut parts = name.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(vpc), Some(purpose), Some(_), None) => Some(format!("{purpose} ({vpc})")),
        _ => None,
    }
}

/// The subnets of a purpose, or the named ones, in the zones asked for (none is all).
///
/// # Errors
/// There are none, or they are in several VPCs.
pub fn subnets<'a>(
    asked: &crate::config::Config,
    existing: &'a [Subnet],
) -> Result<Vec<&'a Subnet>, StageError> {
    let place = format!("{}/{}", asked.account, asked.region);
    let chosen: Vec<&Subnet> = if asked.subnet_ids.is_empty() {
        let Some(wanted) = &asked.subnet_type else {
            return Ok(Vec::new());
        };
        let of_purpose: Vec<&Subnet> = existing
            .iter()
            .filter(|subnet| purpose(subnet).as_deref() == Some(wanted))
            .collect();
        if of_purpose.is_empty() {
            let purposes: Vec<String> = existing.iter().filter_map(purpose).collect();
            return Err(StageError::invalid(
                "subnetType",
                format!(
                    "no subnet has the purpose `{wanted}` in {place}; {}",
                    listed(purposes.iter().map(String::as_str))
                ),
            ));
        }
        of_purpose
    } else {
        asked
            .subnet_ids
            .iter()
            .map(|id| {
                existing
                    .iter()
                    .find(|subnet| subnet.id == *id)
                    .ok_or_else(|| {
                        StageError::invalid(
                            "subnetIds",
                            format!("subnet `{id}` not found in {place}"),
                        )
                    })
            })
            .collect::<Result<_, _>>()?
    };
    let in_zones: Vec<&Subnet> = chosen
        .iter()
        .filter(|subnet| asked.zones.is_empty() || asked.zones.contains(&subnet.zone))
        .copied()
        .collect();
    if in_zones.is_empty() {
        return Err(StageError::invalid(
            "availabilityZones",
            format!(
                "no such subnet in [{}]; {}",
                asked.zones.join(", "),
                listed(chosen.iter().map(|subnet| subnet.zone.as_str()))
            ),
        ));
    }
    if let [first, rest @ ..] = in_zones.as_slice()
        && let Some(other) = rest.iter().find(|subnet| subnet.vpc_id != first.vpc_id)
    {
        return Err(StageError::invalid(
            "subnetType",
            format!(
                "the subnets are in several VPCs, `{}` and `{}`",
                first.vpc_id, other.vpc_id
            ),
        ));
    }
    Ok(in_zones)
}

/// Ids of security groups, by id or by name in the VPC.
///
/// # Errors
/// One is not there.
pub fn security_groups(
    asked: &[String],
    existing: &[SecurityGroup],
    vpc: Option<&str>,
) -> Result<Vec<String>, StageError> {
    let here = |group: &&SecurityGroup| vpc.is_none() || group.vpc_id.as_deref() == vpc;
    let mut ids: Vec<String> = Vec::new();
    for name in asked {
        let id = existing
            .iter()
            .filter(here)
            .find(|group| group.id == *name || group.name == *name)
            .map(|group| group.id.clone())
            .ok_or_else(|| {
                StageError::invalid(
                    "securityGroups",
                    format!(
                        "security group `{name}` not found in VPC `{}`; {}",
                        vpc.unwrap_or("any"),
                        listed(
                            existing
                                .iter()
                                .filter(here)
                                .map(|group| group.name.as_str())
                        )
                    ),
                )
            })?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// ARNs of target groups by name.
///
/// # Errors
/// One is not there, or in another VPC than the instances.
pub fn target_groups(
    asked: &[String],
    existing: &[TargetGroup],
    vpc: Option<&str>,
) -> Result<Vec<String>, StageError> {
    asked
        .iter()
        .map(|name| {
            let group = existing
                .iter()
                .find(|group| group.name == *name)
                .ok_or_else(|| {
                    StageError::invalid(
                        "targetGroups",
                        format!(
                            "target group `{name}` not found; {}",
                            listed(existing.iter().map(|group| group.name.as_str()))
                        ),
                    )
                })?;
            let what = format!("target group `{name}`");
            same_vpc("targetGroups", &what, vpc, group.vpc_id.as_deref())?;
            Ok(group.arn.clone())
        })
        .collect()
}

/// Checks that classic load balancers are there, by name.
///
/// # Errors
/// One is not there, or in another VPC than the instances.
pub fn load_balancers(
    asked: &[String],
    existing: &[LoadBalancer],
    vpc: Option<&str>,
) -> Result<(), StageError> {
    for name in asked {
        let balancer = existing
            .iter()
            .find(|balancer| balancer.name == *name)
            .ok_or_else(|| {
                StageError::invalid(
                    "loadBalancers",
                    format!(
                        "classic load balancer `{name}` not found; {}",
                        listed(existing.iter().map(|balancer| balancer.name.as_str()))
                    ),
                )
            })?;
        let what = format!("classic load balancer `{name}`");
        same_vpc("loadBalancers", &what, vpc, balancer.vpc_id.as_deref())?;
    }
    Ok(())
}

fn same_vpc(
    field: &str,
    what: &str,
    ours: Option<&str>,
    theirs: Option<&str>,
) -> Result<(), StageError> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(StageError::invalid(
            field,
            format!("{what} is in VPC `{theirs}`, the subnets are in `{ours}`"),
        )),
        _ => Ok(()),
    }
}

/// Checks that a key pair is there, if one is asked for.
///
/// # Errors
/// It is not there.
pub fn key_pair(asked: Option<&str>, existing: &[String]) -> Result<(), StageError> {
    match asked {
        Some(name) if !existing.iter().any(|known| known == name) => Err(StageError::invalid(
            "keyPair",
            format!(
                "key pair `{name}` not found; {}",
                listed(existing.iter().map(String::as_str))
            ),
        )),
        _ => Ok(()),
    }
}

/// The error of an instance profile that is not there; `existing` are those that are.
///
/// # Errors
/// Always.
pub fn instance_profile(name: &str, existing: &[String]) -> Result<(), StageError> {
    Err(StageError::invalid(
        "iamRole",
        format!(
            "instance profile `{name}` not found; {}",
            listed(existing.iter().map(String::as_str))
        ),
    ))
}

/// Checks that the region offers the instance types that are asked for; `offered` has their families too.
///
/// # Errors
/// One is not offered.
pub fn instance_types(asked: &[String], offered: &[String]) -> Result<(), StageError> {
    let missing = asked.iter().find(|name| !offered.contains(name));
    missing.map_or(Ok(()), |name| {
        let family = name.split('.').next().unwrap_or_default();
        let near = offered
            .iter()
            .map(String::as_str)
            .filter(|other| other.split('.').next() == Some(family));
        Err(StageError::invalid(
            "instanceType",
            format!(
                "instance type `{name}` is not offered; of `{family}` {}",
                listed(near)
            ),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::collections::BTreeMap;

    fn subnet(id: &str, vpc: &str, zone: &str, tag: (&str, &str)) -> Subnet {
        Subnet {
            id: id.to_owned(),
            vpc_id: vpc.to_owned(),
            zone: zone.to_owned(),
            tags: BTreeMap::from([(tag.0.to_owned(), tag.1.to_owned())]),
        }
    }

    fn config(purpose: &str, zones: &[&str]) -> Config {
        Config {
            account: "prod".to_owned(),
            region: "us-east-1".to_owned(),
            subnet_type: Some(purpose.to_owned()),
            zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
            ..Config::default()
        }
    }

    #[test]
    fn subnets_are_found_by_purpose_and_zone() {
        let all = [
            subnet(
                "s-1",
                "vpc-1",
                "a",
                ("immutable_metadata", r#"{"purpose":"internal"}"#),
            ),
            subnet(
                "s-2",
                "vpc-1",
                "b",
                (
                    "immutable_metadata",
                    r#"{"purpose":"internal","target":"ec2"}"#,
                ),
            ),
            subnet(
                "s-3",
                "vpc-1",
                "b",
                (
                    "immutable_metadata",
                    r#"{"purpose":"internal","target":"elb"}"#,
                ),
            ),
            subnet("s-4", "vpc-1", "b", ("Name", "vpc0.external.b")),
        ];
        let ids = |config: &Config| -> Vec<String> {
            subnets(config, &all)
                .unwrap()
                .iter()
                .map(|s| s.id.clone())
                .collect()
        };
        assert_eq!(ids(&config("internal", &[])), ["s-1", "s-2"]);
        assert_eq!(ids(&config("internal", &["b"])), ["s-2"]);
        assert_eq!(ids(&config("external (vpc0)", &[])), ["s-4"]);
        let unknown = subnets(&config("nowhere", &[]), &all)
            .unwrap_err()
            .to_string();
        assert!(
            unknown.contains("there are external (vpc0), internal"),
            "{unknown}"
        );
        assert!(subnets(&config("internal", &["z"]), &all).is_err());
    }

    #[test]
    fn subnets_of_two_vpcs_are_refused() {
        let metadata = ("immutable_metadata", r#"{"purpose":"internal"}"#);
        let all = [
            subnet("s-1", "vpc-1", "a", metadata),
            subnet("s-2", "vpc-2", "a", metadata),
        ];
        assert!(subnets(&config("internal", &[]), &all).is_err());
    }

    #[test]
    fn security_groups_and_target_groups_name_what_exists() {
        let groups = [SecurityGroup {
            id: "sg-1".to_owned(),
            name: "web".to_owned(),
            vpc_id: Some("vpc-1".to_owned()),
        }];
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            security_groups(&names(&["web", "sg-1"]), &groups, Some("vpc-1")).unwrap(),
            ["sg-1"]
        );
        let error = security_groups(&names(&["db"]), &groups, Some("vpc-1")).unwrap_err();
        assert!(error.to_string().contains("there are web"), "{error}");
        assert!(security_groups(&names(&["web"]), &groups, Some("vpc-2")).is_err());
        let targets = [TargetGroup {
            name: "web".to_owned(),
            arn: "arn:web".to_owned(),
            vpc_id: Some("vpc-1".to_owned()),
        }];
        assert_eq!(
            target_groups(&names(&["web"]), &targets, None).unwrap(),
            ["arn:web"]
        );
        assert!(target_groups(&names(&["web"]), &targets, Some("vpc-2")).is_err());
        let balancers = [LoadBalancer {
            name: "web".to_owned(),
            vpc_id: Some("vpc-1".to_owned()),
        }];
        let refused = |asked: &[&str], vpc| {
            let refused = load_balancers(&names(asked), &balancers, vpc).err();
            refused.map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refused(&["web"], Some("vpc-1")), "");
        let unknown = refused(&["web", "wbe"], None);
        assert!(
            unknown.contains("load balancer `wbe` not found; there are web (`loadBalancers`)"),
            "{unknown}"
        );
        let elsewhere = refused(&["web"], Some("vpc-2"));
        assert!(elsewhere.contains("VPC `vpc-1`"), "{elsewhere}");
    }

    #[test]
    fn key_pairs_and_instance_types_name_what_exists() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert!(key_pair(None, &[]).is_ok());
        assert!(key_pair(Some("ops"), &names(&["ops"])).is_ok());
        let error = key_pair(Some("op"), &names(&["ops"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("key pair `op` not found; there are ops (`keyPair`)"),
            "{error}"
        );
        let offered = names(&["t3.small", "t3.large", "m5.large"]);
        assert!(instance_types(&names(&["t3.small", "m5.large"]), &offered).is_ok());
        let error = instance_types(&names(&["t3.smal"]), &offered)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`t3.smal` is not offered; of `t3` there are t3.large, t3.small"),
            "{error}"
        );
        let error = instance_types(&names(&["x1.big"]), &offered)
            .unwrap_err()
            .to_string();
        assert!(error.contains("of `x1` there are none"), "{error}");
    }
}
