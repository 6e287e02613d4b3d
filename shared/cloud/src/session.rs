//! What a function may do under the role of an account: the session policy with which it assumes the role.
//!
//! An account's role may do what all stages together need. The session of one function may do what that function needs and
//! no more, in one account and region: whoever gets hold of its credentials cannot do what another stage could.

use serde_json::json;

/// Server groups, and the alarms that guard a deployment.
const LOOK: &[&str] = &[
    "autoscaling:DescribeAutoScalingGroups",
    "cloudwatch:DescribeAlarms",
];

/// Scaling processes of a group, held while it changes.
const PROCESSES: &[&str] = &[
    "autoscaling:ResumeProcesses",
    "autoscaling:SuspendProcesses",
];

/// Capacity of a group.
const RESIZE: &[&str] = &["autoscaling:UpdateAutoScalingGroup"];

/// Taking a group into traffic and out of it.
const TRAFFIC: &[&str] = &[
    "autoscaling:AttachLoadBalancerTargetGroups",
    "autoscaling:AttachLoadBalancers",
    "autoscaling:CreateOrUpdateTags",
    "autoscaling:DeleteTags",
    "autoscaling:DetachLoadBalancerTargetGroups",
    "autoscaling:DetachLoadBalancers",
    "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
    "elasticloadbalancing:RegisterTargets",
];

/// What target groups and classic load balancers say of a group's instances.
const HEALTH: &[&str] = &[
    "elasticloadbalancing:DescribeInstanceHealth",
    "elasticloadbalancing:DescribeTargetHealth",
];

/// Taking a group away.
const DESTROY: &[&str] = &["autoscaling:DeleteAutoScalingGroup"];

/// A launch template, and instances of it; and its image, shared by the account that owns it.
const TEMPLATE: &[&str] = &[
    "ec2:CreateLaunchTemplate",
    "ec2:CreateLaunchTemplateVersion",
    "ec2:CreateTags",
    "ec2:DeleteTags",
    "ec2:DescribeImages",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:ModifyImageAttribute",
    "ec2:RunInstances",
    "iam:PassRole",
];

/// Making a group: its policies and schedules, and what it is checked against.
const CREATE: &[&str] = &[
    "autoscaling:BatchPutScheduledUpdateGroupAction",
    "autoscaling:CreateAutoScalingGroup",
    "autoscaling:CreateOrUpdateTags",
    "autoscaling:DescribePolicies",
    "autoscaling:DescribeScalingActivities",
    "autoscaling:DescribeScheduledActions",
    "autoscaling:EnableMetricsCollection",
    "autoscaling:PutScalingPolicy",
    "cloudwatch:DeleteAlarms",
    "cloudwatch:PutMetricAlarm",
    "ec2:DeleteLaunchTemplate",
    "ec2:DeleteLaunchTemplateVersions",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeKeyPairs",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetGroups",
    "iam:GetInstanceProfile",
    "iam:ListInstanceProfiles",
    "servicequotas:GetServiceQuota",
];

/// What each function does in the accounts of server groups, by sets of actions.
const FUNCTIONS: &[(&str, &[&[&str]])] = &[
    (
        "apply-source-server-group-capacity",
        &[LOOK, PROCESSES, RESIZE],
    ),
    ("capture-source-server-group-capacity", &[LOOK]),
    (
        "check-preconditions",
        &[&["autoscaling:DescribeAutoScalingGroups"]],
    ),
    (
        "clone-server-group",
        &[
            LOOK,
            PROCESSES,
            RESIZE,
            DESTROY,
            TEMPLATE,
            CREATE,
            HEALTH,
            &["autoscaling:DescribeLifecycleHooks"],
        ],
    ),
    (
        "create-server-group",
        &[LOOK, PROCESSES, RESIZE, DESTROY, TEMPLATE, CREATE, HEALTH],
    ),
    (
        "destroy-server-group",
        &[
            LOOK,
            PROCESSES,
            RESIZE,
            TRAFFIC,
            HEALTH,
            DESTROY,
            &["autoscaling:DescribePolicies", "cloudwatch:DeleteAlarms"],
        ],
    ),
    (
        "determine-target-server-group",
        &[&["autoscaling:DescribeAutoScalingGroups"]],
    ),
    ("disable-cluster", &[LOOK, PROCESSES, TRAFFIC, HEALTH]),
    (
        "disable-server-group",
        &[
            LOOK,
            PROCESSES,
            TRAFFIC,
            HEALTH,
            &[
                "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
                "elasticloadbalancing:DeregisterTargets",
            ],
        ],
    ),
    ("enable-server-group", &[LOOK, PROCESSES, TRAFFIC, HEALTH]),
    (
        "find-image",
        &[&[
            "autoscaling:DescribeAutoScalingGroups",
            "ec2:DescribeImages",
            "ec2:DescribeLaunchTemplateVersions",
        ]],
    ),
    ("find-image-from-tags", &[&["ec2:DescribeImages"]]),
    (
        "instance-refresh",
        &[
            LOOK,
            TEMPLATE,
            &[
                "autoscaling:CancelInstanceRefresh",
                "autoscaling:DescribeInstanceRefreshes",
                "autoscaling:DescribeLifecycleHooks",
                "autoscaling:RollbackInstanceRefresh",
                "autoscaling:StartInstanceRefresh",
                "ec2:DeleteLaunchTemplate",
                "ec2:DeleteLaunchTemplateVersions",
            ],
        ],
    ),
    ("modify-aws-scaling-process", &[LOOK, PROCESSES]),
    (
        "modify-warm-pool",
        &[
            LOOK,
            &[
                "autoscaling:DeleteWarmPool",
                "autoscaling:DescribeWarmPool",
                "autoscaling:PutWarmPool",
            ],
        ],
    ),
    ("pin-server-group", &[LOOK, RESIZE]),
    ("resize-server-group", &[LOOK, PROCESSES, RESIZE, HEALTH]),
    (
        "rollback-cluster",
        &[
            LOOK,
            PROCESSES,
            RESIZE,
            TRAFFIC,
            HEALTH,
            DESTROY,
            TEMPLATE,
            CREATE,
            &["autoscaling:DescribeLifecycleHooks"],
        ],
    ),
    (
        "rollback-server-group",
        &[
            LOOK,
            PROCESSES,
            RESIZE,
            TRAFFIC,
            HEALTH,
            DESTROY,
            TEMPLATE,
            CREATE,
            &["autoscaling:DescribeLifecycleHooks"],
        ],
    ),
    ("scale-down-cluster", &[LOOK, PROCESSES, RESIZE, HEALTH]),
    (
        "shrink-cluster",
        &[
            LOOK,
            PROCESSES,
            RESIZE,
            TRAFFIC,
            HEALTH,
            DESTROY,
            &["autoscaling:DescribePolicies", "cloudwatch:DeleteAlarms"],
        ],
    ),
    ("watch-alarms", &[&["cloudwatch:DescribeAlarms"]]),
];

/// The actions of each function in the accounts of server groups, in order; a test compares them with the template, both
/// ways.
pub fn actions() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    FUNCTIONS.iter().map(|(name, sets)| {
        let mut actions = sets.concat();
        actions.sort_unstable();
        actions.dedup();
        (*name, actions)
    })
}

/// The most characters that STS takes as a session policy.
pub const MAX_CHARACTERS: usize = 2_048;

/// What an action may be cut to. EC2's own actions on launch templates, instances and tags work on resources that have no
/// name yet, and descriptions of all services on everything. Any partition: a session reaches no other than its role's, and
/// STS takes few characters.
fn resource(action: &str, account_id: &str, region: &str) -> String {
    match action.split_once(':') {
        Some((_, name))
            if ["Describe", "Get", "List"]
                .iter()
                .any(|read| name.starts_with(read)) =>
        {
            "*".to_owned()
        }
        Some(("autoscaling", _)) => {
            format!("arn:*:autoscaling:{region}:{account_id}:autoScalingGroup:*")
        }
        Some(("cloudwatch", _)) => {
            format!("arn:*:cloudwatch:{region}:{account_id}:alarm:*")
        }
        // Images have no account in their ARNs.
        Some(("ec2", "DeleteTags" | "ModifyImageAttribute")) => {
            format!("arn:*:ec2:{region}::image/*")
        }
        Some(("elasticloadbalancing", _)) => {
            // Every action is of one of its kinds, target groups or classic load balancers.
            format!("arn:*:elasticloadbalancing:{region}:{account_id}:*")
        }
        Some(("iam", _)) => format!("arn:*:iam::{account_id}:role/*"),
        _ => "*".to_owned(),
    }
}

/// The session policy of a function in an account and region; none for a function that assumes no role.
#[must_use]
pub fn policy(function: &str, account_id: &str, region: &str) -> Option<String> {
    let (_, actions) = actions().find(|(name, _)| *name == function)?;
    let mut on_everything = Vec::new();
    let mut passed = Vec::new();
    let mut cut = Vec::new();
    let mut resources = Vec::new();
    for action in actions {
        let resource = resource(action, account_id, region);
        if resource == "*" {
            on_everything.push(action);
        } else if action == "iam:PassRole" {
            passed.push((action, resource));
        } else {
            cut.push(action);
            if !resources.contains(&resource) {
                resources.push(resource);
            }
        }
    }
    let mut statements = Vec::new();
    if !on_everything.is_empty() {
        statements.push(json!({ "Effect": "Allow", "Action": on_everything, "Resource": "*" }));
    }
    if !cut.is_empty() {
        // Together: no action works on a resource of another service, and STS takes few characters.
        statements.push(json!({ "Effect": "Allow", "Action": cut, "Resource": resources }));
    }
    // A role may be handed to instances and to nothing else.
    statements.extend(passed.into_iter().map(|(action, resource)| {
        let to_instances = json!({
            "StringEquals": { "iam:PassedToService": format!("ec2.amazonaws.com{}", suffix(region)) }
        });
        json!({ "Effect": "Allow", "Action": action, "Resource": resource, "Condition": to_instances })
    }));
    Some(json!({ "Version": "2012-10-17", "Statement": statements }).to_string())
}

/// EC2 has a name of its own in China.
fn suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") { ".cn" } else { "" }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_functions_policy_is_as_small_as_sts_takes_it() {
        for (function, actions) in super::actions() {
            // The longest names of region and partition.
            for region in ["ap-southeast-5", "us-gov-west-1", "cn-northwest-1"] {
                let policy = policy(function, "123456789012", region).unwrap();
                assert!(
                    policy.len() <= MAX_CHARACTERS,
                    "{function}: {} characters",
                    policy.len()
                );
                for action in &actions {
                    assert!(policy.contains(action), "{function} lacks {action}");
                }
            }
        }
    }

    #[test]
    fn a_session_is_cut_to_its_function_account_and_region() {
        let policy: Value =
            serde_json::from_str(&policy("pin-server-group", "123456789012", "eu-west-1").unwrap())
                .unwrap();
        assert_eq!(
            policy["Statement"],
            json!([
                {
                    "Effect": "Allow",
                    "Action": ["autoscaling:DescribeAutoScalingGroups", "cloudwatch:DescribeAlarms"],
                    "Resource": "*",
                },
                {
                    "Effect": "Allow",
                    "Action": ["autoscaling:UpdateAutoScalingGroup"],
                    "Resource": ["arn:*:autoscaling:eu-west-1:123456789012:autoScalingGroup:*"],
                },
            ])
        );
        assert_eq!(super::policy("wait", "123456789012", "eu-west-1"), None);
    }

    #[test]
    fn of_ec2_a_session_shares_images_of_its_region_and_nothing_else() {
        let policy: Value = serde_json::from_str(
            &policy("create-server-group", "123456789012", "eu-west-1").unwrap(),
        )
        .unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        let of = |action: &str| {
            let has = |statement: &&Value| statement["Action"].to_string().contains(action);
            statements.iter().find(has).unwrap()["Resource"].to_string()
        };
        for action in ["ec2:ModifyImageAttribute", "ec2:DeleteTags"] {
            let resources = of(action);
            assert!(
                resources.contains("arn:*:ec2:eu-west-1::image/*") && !resources.contains("\"*\""),
                "{resources}"
            );
        }
    }
}
