//! What a function may do under the role of an account: the session policy with which it assumes the role.
//!
//! An account's role may do what all stages together need. The session of one function may do what that function needs and
//! no more, in one account and region: whoever gets hold of its credentials cannot do what another stage could.

use serde_json::{Value, json};

/// The actions of each function in the accounts of server groups; a test compares them with the template, both ways.
pub const ACTIONS: &[(&str, &[&str])] = &[
    (
        "apply-source-server-group-capacity",
        &[
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "autoscaling:UpdateAutoScalingGroup",
            "cloudwatch:DescribeAlarms",
        ],
    ),
    (
        "capture-source-server-group-capacity",
        &[
            "autoscaling:DescribeAutoScalingGroups",
            "cloudwatch:DescribeAlarms",
        ],
    ),
    (
        "check-preconditions",
        &["autoscaling:DescribeAutoScalingGroups"],
    ),
    (
        "clone-server-group",
        &[
            "autoscaling:BatchPutScheduledUpdateGroupAction",
            "autoscaling:CreateAutoScalingGroup",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeLifecycleHooks",
            "autoscaling:DescribePolicies",
            "autoscaling:DescribeScalingActivities",
            "autoscaling:DescribeScheduledActions",
            "autoscaling:EnableMetricsCollection",
            "autoscaling:PutScalingPolicy",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "autoscaling:UpdateAutoScalingGroup",
            "cloudwatch:DeleteAlarms",
            "cloudwatch:DescribeAlarms",
            "cloudwatch:PutMetricAlarm",
            "ec2:CreateLaunchTemplate",
            "ec2:CreateLaunchTemplateVersion",
            "ec2:CreateTags",
            "ec2:DeleteLaunchTemplate",
            "ec2:DeleteLaunchTemplateVersions",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeKeyPairs",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:RunInstances",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
            "iam:GetInstanceProfile",
            "iam:ListInstanceProfiles",
            "iam:PassRole",
            "servicequotas:GetServiceQuota",
        ],
    ),
    (
        "create-server-group",
        &[
            "autoscaling:BatchPutScheduledUpdateGroupAction",
            "autoscaling:CreateAutoScalingGroup",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribePolicies",
            "autoscaling:DescribeScalingActivities",
            "autoscaling:DescribeScheduledActions",
            "autoscaling:EnableMetricsCollection",
            "autoscaling:PutScalingPolicy",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "autoscaling:UpdateAutoScalingGroup",
            "cloudwatch:DeleteAlarms",
            "cloudwatch:DescribeAlarms",
            "cloudwatch:PutMetricAlarm",
            "ec2:CreateLaunchTemplate",
            "ec2:CreateLaunchTemplateVersion",
            "ec2:CreateTags",
            "ec2:DeleteLaunchTemplate",
            "ec2:DeleteLaunchTemplateVersions",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeKeyPairs",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:RunInstances",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
            "iam:GetInstanceProfile",
            "iam:ListInstanceProfiles",
            "iam:PassRole",
            "servicequotas:GetServiceQuota",
        ],
    ),
    (
        "destroy-server-group",
        &[
            "autoscaling:AttachLoadBalancerTargetGroups",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DeleteTags",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribePolicies",
            "autoscaling:DetachLoadBalancerTargetGroups",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "autoscaling:UpdateAutoScalingGroup",
            "cloudwatch:DeleteAlarms",
            "cloudwatch:DescribeAlarms",
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:RegisterTargets",
        ],
    ),
    (
        "determine-target-server-group",
        &["autoscaling:DescribeAutoScalingGroups"],
    ),
    (
        "disable-cluster",
        &[
            "autoscaling:AttachLoadBalancerTargetGroups",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteTags",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DetachLoadBalancerTargetGroups",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "cloudwatch:DescribeAlarms",
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:RegisterTargets",
        ],
    ),
    (
        "disable-server-group",
        &[
            "autoscaling:AttachLoadBalancerTargetGroups",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteTags",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DetachLoadBalancerTargetGroups",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "cloudwatch:DescribeAlarms",
            "elasticloadbalancing:DeregisterTargets",
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:RegisterTargets",
        ],
    ),
    (
        "enable-server-group",
        &[
            "autoscaling:AttachLoadBalancerTargetGroups",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteTags",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DetachLoadBalancerTargetGroups",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "cloudwatch:DescribeAlarms",
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:RegisterTargets",
        ],
    ),
    (
        "find-image",
        &[
            "autoscaling:DescribeAutoScalingGroups",
            "ec2:DescribeImages",
            "ec2:DescribeLaunchTemplateVersions",
        ],
    ),
    (
        "instance-refresh",
        &[
            "autoscaling:CancelInstanceRefresh",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeInstanceRefreshes",
            "autoscaling:DescribeLifecycleHooks",
            "autoscaling:RollbackInstanceRefresh",
            "autoscaling:StartInstanceRefresh",
            "cloudwatch:DescribeAlarms",
            "ec2:CreateLaunchTemplate",
            "ec2:CreateLaunchTemplateVersion",
            "ec2:CreateTags",
            "ec2:DeleteLaunchTemplate",
            "ec2:DeleteLaunchTemplateVersions",
            "ec2:DescribeImages",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:RunInstances",
            "iam:PassRole",
        ],
    ),
    (
        "modify-aws-scaling-process",
        &[
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "cloudwatch:DescribeAlarms",
        ],
    ),
    (
        "modify-warm-pool",
        &[
            "autoscaling:DeleteWarmPool",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeWarmPool",
            "autoscaling:PutWarmPool",
            "cloudwatch:DescribeAlarms",
        ],
    ),
    (
        "pin-server-group",
        &[
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:UpdateAutoScalingGroup",
            "cloudwatch:DescribeAlarms",
        ],
    ),
    (
        "resize-server-group",
        &[
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "autoscaling:UpdateAutoScalingGroup",
            "cloudwatch:DescribeAlarms",
            "elasticloadbalancing:DescribeTargetHealth",
        ],
    ),
    (
        "rollback-cluster",
        &[
            "autoscaling:AttachLoadBalancerTargetGroups",
            "autoscaling:BatchPutScheduledUpdateGroupAction",
            "autoscaling:CreateAutoScalingGroup",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DeleteTags",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeLifecycleHooks",
            "autoscaling:DescribePolicies",
            "autoscaling:DescribeScalingActivities",
            "autoscaling:DescribeScheduledActions",
            "autoscaling:DetachLoadBalancerTargetGroups",
            "autoscaling:EnableMetricsCollection",
            "autoscaling:PutScalingPolicy",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "autoscaling:UpdateAutoScalingGroup",
            "cloudwatch:DeleteAlarms",
            "cloudwatch:DescribeAlarms",
            "cloudwatch:PutMetricAlarm",
            "ec2:CreateLaunchTemplate",
            "ec2:CreateLaunchTemplateVersion",
            "ec2:CreateTags",
            "ec2:DeleteLaunchTemplate",
            "ec2:DeleteLaunchTemplateVersions",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeKeyPairs",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:RunInstances",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:RegisterTargets",
            "iam:GetInstanceProfile",
            "iam:ListInstanceProfiles",
            "iam:PassRole",
            "servicequotas:GetServiceQuota",
        ],
    ),
    (
        "rollback-server-group",
        &[
            "autoscaling:AttachLoadBalancerTargetGroups",
            "autoscaling:BatchPutScheduledUpdateGroupAction",
            "autoscaling:CreateAutoScalingGroup",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DeleteTags",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeLifecycleHooks",
            "autoscaling:DescribePolicies",
            "autoscaling:DescribeScalingActivities",
            "autoscaling:DescribeScheduledActions",
            "autoscaling:DetachLoadBalancerTargetGroups",
            "autoscaling:EnableMetricsCollection",
            "autoscaling:PutScalingPolicy",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "autoscaling:UpdateAutoScalingGroup",
            "cloudwatch:DeleteAlarms",
            "cloudwatch:DescribeAlarms",
            "cloudwatch:PutMetricAlarm",
            "ec2:CreateLaunchTemplate",
            "ec2:CreateLaunchTemplateVersion",
            "ec2:CreateTags",
            "ec2:DeleteLaunchTemplate",
            "ec2:DeleteLaunchTemplateVersions",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeKeyPairs",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:RunInstances",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:RegisterTargets",
            "iam:GetInstanceProfile",
            "iam:ListInstanceProfiles",
            "iam:PassRole",
            "servicequotas:GetServiceQuota",
        ],
    ),
    (
        "scale-down-cluster",
        &[
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "autoscaling:UpdateAutoScalingGroup",
            "cloudwatch:DescribeAlarms",
            "elasticloadbalancing:DescribeTargetHealth",
        ],
    ),
    (
        "shrink-cluster",
        &[
            "autoscaling:AttachLoadBalancerTargetGroups",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DeleteTags",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribePolicies",
            "autoscaling:DetachLoadBalancerTargetGroups",
            "autoscaling:ResumeProcesses",
            "autoscaling:SuspendProcesses",
            "autoscaling:UpdateAutoScalingGroup",
            "cloudwatch:DeleteAlarms",
            "cloudwatch:DescribeAlarms",
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:RegisterTargets",
        ],
    ),
    ("watch-alarms", &["cloudwatch:DescribeAlarms"]),
];

/// The most characters that STS takes as a session policy.
pub const MAX_CHARACTERS: usize = 2_048;

/// The partition of a region, as ARNs name it.
fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

/// What an action may be cut to. EC2's own actions on launch templates, instances and tags work on resources that have no
/// name yet, and descriptions of all services on everything.
fn resource(action: &str, account_id: &str, region: &str) -> String {
    let partition = partition(region);
    match action.split_once(':') {
        Some((_, name))
            if ["Describe", "Get", "List"]
                .iter()
                .any(|read| name.starts_with(read)) =>
        {
            "*".to_owned()
        }
        Some(("autoscaling", _)) => {
            format!("arn:{partition}:autoscaling:{region}:{account_id}:autoScalingGroup:*")
        }
        Some(("cloudwatch", _)) => {
            format!("arn:{partition}:cloudwatch:{region}:{account_id}:alarm:*")
        }
        Some(("elasticloadbalancing", _)) => {
            format!("arn:{partition}:elasticloadbalancing:{region}:{account_id}:targetgroup/*")
        }
        Some(("iam", _)) => format!("arn:{partition}:iam::{account_id}:role/*"),
        _ => "*".to_owned(),
    }
}

/// The session policy of a function in an account and region; none for a function that assumes no role.
#[must_use]
pub fn policy(function: &str, account_id: &str, region: &str) -> Option<String> {
    let (_, actions) = ACTIONS.iter().find(|(name, _)| *name == function)?;
    let mut statements: Vec<(String, Vec<&str>)> = Vec::new();
    for action in *actions {
        let resource = resource(action, account_id, region);
        match statements.iter_mut().find(|(known, _)| *known == resource) {
            Some((_, together)) => together.push(action),
            None => statements.push((resource, vec![action])),
        }
    }
    let statements: Vec<Value> = statements
        .into_iter()
        .map(|(resource, actions)| {
            let mut statement =
                json!({ "Effect": "Allow", "Action": actions, "Resource": resource });
            // A role may be handed to instances and to nothing else.
            if actions.contains(&"iam:PassRole")
                && let Some(statement) = statement.as_object_mut()
            {
                let to_instances = json!({
                    "StringEquals": { "iam:PassedToService": format!("ec2.amazonaws.com{}", suffix(region)) }
                });
                statement.insert("Condition".to_owned(), to_instances);
            }
            statement
        })
        .collect();
    Some(json!({ "Version": "2012-10-17", "Statement": statements }).to_string())
}

/// EC2 has a name of its own in China.
fn suffix(region: &str) -> &'static str {
    if partition(region) == "aws-cn" {
        ".cn"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_functions_policy_is_as_small_as_sts_takes_it() {
        for (function, actions) in ACTIONS {
            // The longest names of region and partition.
            for region in ["ap-southeast-5", "us-gov-west-1", "cn-northwest-1"] {
                let policy = policy(function, "123456789012", region).unwrap();
                assert!(
                    policy.len() <= MAX_CHARACTERS,
                    "{function}: {} characters",
                    policy.len()
                );
                for action in *actions {
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
                    "Resource": "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:*",
                },
            ])
        );
        assert_eq!(super::policy("wait", "123456789012", "eu-west-1"), None);
    }
}
