//! Which stage types exist, which function serves each, and how its Task waits.

/// How a stage's Task learns that the stage is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The function answers `Waiting…` until it is done and Step Functions calls again.
    Polled,
    /// The Task carries a token and is woken; its literal time-out, in seconds, makes the function look again.
    Woken {
        /// `TimeoutSeconds`.
        look_again_seconds: u32,
    },
}

/// A stage type that Gennaker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageType {
    /// Spinnaker's name, such as `resizeServerGroup`.
    pub name: &'static str,
    /// Function that serves it, such as `resize-server-group`.
    pub function: &'static str,
    /// How its Task waits.
    pub waiting: Waiting,
    /// How its changes are undone, if it makes any.
    pub undo: Undo,
    /// How long it works before it gives up, in seconds: bounds its polls.
    pub time_limit_seconds: u64,
}

/// What finalize does about an open intent of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// The stage changes nothing in the account.
    Nothing,
    /// The stage's own function takes the change back.
    Own,
    /// The change cannot be taken back; the end state says what is left.
    Told,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const fn polled(
    name: &'static str,
    function: &'static str,
    undo: Undo,
    time_limit_seconds: u64,
) -> StageType {
    StageType {
        name,
        function,
        waiting: Waiting::Polled,
        undo,
        time_limit_seconds,
    }
}

const fn woken(
    name: &'static str,
    function: &'static str,
    look_again_seconds: u32,
    time_limit_seconds: u64,
) -> StageType {
    StageType {
        name,
        function,
        waiting: Waiting::Woken { look_again_seconds },
        undo: Undo::Nothing,
        time_limit_seconds,
    }
}

/// A stage that starts other executions and cancels them if it ends without them.
const fn parent(
    name: &'static str,
    function: &'static str,
    look_again_seconds: u32,
    time_limit_seconds: u64,
) -> StageType {
    StageType {
        undo: Undo::Own,
        ..woken(name, function, look_again_seconds, time_limit_seconds)
    }
}

/// Every stage type that compiles, in alphabetical order. Time limits are Orca's task time-outs.
#[rustfmt::skip]
pub const STAGE_TYPES: &[StageType] = &[
    polled("Aws.LambdaDeleteStage", "lambda-delete", Undo::Told, HOUR),
    polled("Aws.LambdaDeploymentStage", "lambda-deployment", Undo::Own, HOUR),
    polled("Aws.LambdaInvokeStage", "lambda-invoke", Undo::Told, HOUR),
    polled("Aws.LambdaTrafficRoutingStage", "lambda-traffic-routing", Undo::Own, HOUR),
    polled("Aws.LambdaUpdateCodeStage", "lambda-update-code", Undo::Own, HOUR),
    polled("applySourceServerGroupCapacity", "apply-source-server-group-capacity", Undo::Own, 2 * HOUR),
    polled("awsCodeBuild", "aws-code-build", Undo::Told, 8 * HOUR),
    polled("bake", "bake", Undo::Told, HOUR),
    polled("bakeManifest", "bake-manifest", Undo::Nothing, HOUR),
    polled("bindProducedArtifacts", "bind-produced-artifacts", Undo::Nothing, 0),
    polled("bulkDestroyServerGroup", "bulk-destroy-server-group", Undo::Told, HOUR),
    polled("bulkUpsertEntityTags", "bulk-upsert-entity-tags", Undo::Own, 10 * MINUTE),
    polled("captureSourceServerGroupCapacity", "capture-source-server-group-capacity", Undo::Nothing, 10 * MINUTE),
    polled("checkPreconditions", "check-preconditions", Undo::Nothing, MINUTE),
    polled("cleanupCanaryClusters", "cleanup-canary-clusters", Undo::Told, 2 * HOUR),
    polled("cloneServerGroup", "clone-server-group", Undo::Own, 2 * HOUR),
    polled("copyAmazonLoadBalancer", "copy-load-balancer", Undo::Own, 10 * MINUTE),
    polled("copyLastAsg", "clone-server-group", Undo::Own, 2 * HOUR),
    polled("copySecurityGroup", "copy-security-group", Undo::Own, 10 * MINUTE),
    polled("createApplication", "create-application", Undo::Own, 2 * MINUTE),
    polled("createJiraIssue", "create-jira-issue", Undo::Told, 10 * MINUTE),
    polled("createPipelineTemplate", "create-pipeline-template", Undo::Own, 2 * MINUTE),
    polled("createServerGroup", "create-server-group", Undo::Own, 2 * HOUR),
    polled("createV2PipelineTemplate", "create-pipeline-template", Undo::Own, 2 * MINUTE),
    polled("deleteApplication", "delete-application", Undo::Told, 2 * MINUTE),
    polled("deleteCloudFormation", "delete-cloud-formation", Undo::Told, 2 * HOUR),
    polled("deleteDeliveryConfig", "delete-delivery-config", Undo::Told, 2 * MINUTE),
    polled("deleteEntityTags", "delete-entity-tags", Undo::Own, 10 * MINUTE),
    polled("deleteImage", "delete-image", Undo::Told, 10 * MINUTE),
    polled("deleteLaunchConfiguration", "delete-launch-configuration", Undo::Told, 10 * MINUTE),
    polled("deleteLaunchTemplate", "delete-launch-template", Undo::Told, 10 * MINUTE),
    polled("deleteLoadBalancer", "delete-load-balancer", Undo::Told, 10 * MINUTE),
    polled("deleteManifest", "delete-manifest", Undo::Told, 30 * MINUTE),
    polled("deletePipeline", "delete-pipeline", Undo::Own, 2 * MINUTE),
    polled("deletePipelineTemplate", "delete-pipeline-template", Undo::Told, 2 * MINUTE),
    polled("deleteProject", "delete-project", Undo::Told, 2 * MINUTE),
    polled("deleteScalingPolicy", "delete-scaling-policy", Undo::Own, 10 * MINUTE),
    polled("deleteSecurityGroup", "delete-security-group", Undo::Told, 10 * MINUTE),
    polled("deleteSnapshot", "delete-snapshot", Undo::Told, 10 * MINUTE),
    polled("deleteV2PipelineTemplate", "delete-pipeline-template", Undo::Told, 2 * MINUTE),
    woken("dependsOnExecution", "depends-on-execution", 3600, 2 * HOUR),
    polled("deployCanaryServerGroups", "deploy-canary-server-groups", Undo::Own, 2 * HOUR),
    polled("deployCloudFormation", "deploy-cloud-formation", Undo::Own, 2 * HOUR),
    polled("deployManifest", "deploy-manifest", Undo::Own, 30 * MINUTE),
    polled("deregisterInstancesFromLoadBalancer", "deregister-instances-from-load-balancer", Undo::Own, HOUR),
    polled("destroyServerGroup", "destroy-server-group", Undo::Told, HOUR),
    polled("detachInstances", "detach-instances", Undo::Told, HOUR),
    polled("determineTargetServerGroup", "determine-target-server-group", Undo::Nothing, 10 * MINUTE),
    polled("disableCluster", "disable-cluster", Undo::Own, 30 * MINUTE),
    polled("disableManifest", "disable-manifest", Undo::Own, 30 * MINUTE),
    polled("disableServerGroup", "disable-server-group", Undo::Own, 2 * HOUR),
    polled("enableManifest", "enable-manifest", Undo::Own, 30 * MINUTE),
    polled("enableServerGroup", "enable-server-group", Undo::Own, 2 * HOUR),
    polled("evaluateArtifacts", "evaluate-artifacts", Undo::Nothing, 0),
    polled("evaluateDeploymentHealth", "evaluate-deployment-health", Undo::Nothing, HOUR),
    polled("evaluateVariables", "evaluate-variables", Undo::Nothing, 0),
    polled("findAmi", "find-image", Undo::Nothing, 10 * MINUTE),
    polled("findArtifactFromExecution", "find-artifact-from-execution", Undo::Nothing, 10 * MINUTE),
    polled("findArtifactFromResource", "find-artifact-from-resource", Undo::Nothing, 10 * MINUTE),
    polled("findArtifactsFromResource", "find-artifact-from-resource", Undo::Nothing, 10 * MINUTE),
    polled("findImage", "find-image", Undo::Nothing, 10 * MINUTE),
    polled("findImageFromCluster", "find-image", Undo::Nothing, 10 * MINUTE),
    polled("findImageFromTags", "find-image-from-tags", Undo::Nothing, 10 * MINUTE),
    polled("importDeliveryConfig", "import-delivery-config", Undo::Told, 10 * MINUTE),
    polled("instanceRefresh", "instance-refresh", Undo::Own, 8 * HOUR),
    polled("jenkins", "jenkins", Undo::Told, 2 * HOUR),
    polled("jira", "create-jira-issue", Undo::Told, 10 * MINUTE),
    polled("kayentaCanary", "kayenta-canary", Undo::Nothing, 2 * DAY),
    polled("lambdaFunction", "lambda-deployment", Undo::Own, HOUR),
    woken("manualJudgment", "manual-judgment", 3600, 3 * DAY),
    polled("mapLoadBalancers", "map-load-balancers", Undo::Own, 10 * MINUTE),
    polled("modifyAsg", "modify-asg", Undo::Own, 10 * MINUTE),
    polled("modifyAsgLaunchConfiguration", "modify-asg-launch-configuration", Undo::Own, 10 * MINUTE),
    polled("modifyAwsScalingProcess", "modify-aws-scaling-process", Undo::Own, 20 * MINUTE),
    polled("modifyScalingGroup", "modify-scaling-group", Undo::Own, 20 * MINUTE),
    polled("modifyWarmPool", "modify-warm-pool", Undo::Own, 20 * MINUTE),
    woken("monitorPipeline", "monitor-pipeline", 3600, 12 * HOUR),
    polled("notifyDeployCompleted", "notify-deploy-completed", Undo::Nothing, 10 * MINUTE),
    polled("notifyDeployStarting", "notify-deploy-starting", Undo::Nothing, 10 * MINUTE),
    polled("pageApplicationOwner", "page-application-owner", Undo::Told, 10 * MINUTE),
    polled("patchManifest", "patch-manifest", Undo::Own, 30 * MINUTE),
    polled("pauseRolloutManifest", "pause-rollout-manifest", Undo::Own, 30 * MINUTE),
    polled("pinServerGroup", "pin-server-group", Undo::Own, 10 * MINUTE),
    parent("pipeline", "pipeline", 3600, 12 * HOUR),
    polled("publishDeliveryConfig", "import-delivery-config", Undo::Told, 10 * MINUTE),
    polled("rebootInstances", "reboot-instances", Undo::Told, HOUR),
    polled("registerInstancesWithLoadBalancer", "register-instances-with-load-balancer", Undo::Own, HOUR),
    polled("reorderPipelines", "reorder-pipelines", Undo::Own, 2 * MINUTE),
    polled("resizeServerGroup", "resize-server-group", Undo::Own, 2 * HOUR),
    polled("resolveTargetManifest", "resolve-target-manifest", Undo::Nothing, 10 * MINUTE),
    polled("restrictExecutionDuringTimeWindow", "restrict-execution-during-time-window", Undo::Nothing, 7 * DAY),
    polled("resumeRolloutManifest", "resume-rollout-manifest", Undo::Own, 30 * MINUTE),
    polled("rollbackCluster", "rollback-cluster", Undo::Own, 2 * HOUR),
    polled("rollbackServerGroup", "rollback-server-group", Undo::Own, 2 * HOUR),
    polled("rollingRestartManifest", "rolling-restart-manifest", Undo::Told, 30 * MINUTE),
    polled("runCanary", "run-canary", Undo::Nothing, 2 * HOUR),
    polled("runCanaryIntervals", "run-canary-intervals", Undo::Nothing, 2 * DAY),
    polled("runJob", "run-job", Undo::Told, 2 * HOUR),
    polled("runJobManifest", "run-job", Undo::Told, 2 * HOUR),
    parent("runMultiplePipelines", "run-multiple-pipelines", 3600, DAY),
    polled("savePipeline", "save-pipeline-stage", Undo::Own, 2 * MINUTE),
    polled("savePipelinesFromArtifact", "save-pipelines-from-artifact", Undo::Own, 10 * MINUTE),
    polled("scaleDownCluster", "scale-down-cluster", Undo::Own, 30 * MINUTE),
    polled("scaleManifest", "scale-manifest", Undo::Own, 30 * MINUTE),
    polled("script", "script", Undo::Told, 2 * HOUR),
    polled("serverGroupForceCacheRefresh", "server-group-force-cache-refresh", Undo::Nothing, 10 * MINUTE),
    polled("shrinkCluster", "shrink-cluster", Undo::Told, 30 * MINUTE),
    polled("tagImage", "upsert-image-tags", Undo::Own, 10 * MINUTE),
    polled("terminateInstanceAndDecrementAsg", "terminate-instance-and-decrement", Undo::Told, HOUR),
    polled("terminateInstanceAndDecrementServerGroup", "terminate-instance-and-decrement", Undo::Told, HOUR),
    polled("terminateInstances", "terminate-instances", Undo::Told, HOUR),
    polled("undoRolloutManifest", "undo-rollout-manifest", Undo::Own, 30 * MINUTE),
    polled("unmapLoadBalancers", "unmap-load-balancers", Undo::Own, 10 * MINUTE),
    polled("updateApplication", "update-application", Undo::Own, 2 * MINUTE),
    polled("updateLaunchConfig", "modify-asg-launch-configuration", Undo::Own, 10 * MINUTE),
    polled("updateLaunchTemplate", "update-launch-template", Undo::Own, 10 * MINUTE),
    polled("updatePipeline", "save-pipeline-stage", Undo::Own, 2 * MINUTE),
    polled("updatePipelineTemplate", "update-pipeline-template", Undo::Own, 2 * MINUTE),
    polled("updateSecurityGroupsForServerGroup", "update-security-groups-for-server-group", Undo::Own, 10 * MINUTE),
    polled("updateV2PipelineTemplate", "update-pipeline-template", Undo::Own, 2 * MINUTE),
    polled("upsertAmazonDNS", "upsert-amazon-dns", Undo::Own, 10 * MINUTE),
    polled("upsertAmazonLoadBalancer", "upsert-load-balancer", Undo::Own, 10 * MINUTE),
    polled("upsertApplication", "upsert-application", Undo::Own, 2 * MINUTE),
    polled("upsertAsgScheduledActions", "upsert-asg-scheduled-actions", Undo::Own, 10 * MINUTE),
    polled("upsertAsgTags", "upsert-server-group-tags", Undo::Own, 10 * MINUTE),
    polled("upsertDeliveryConfig", "upsert-delivery-config", Undo::Own, 2 * MINUTE),
    polled("upsertEntityTags", "upsert-entity-tags", Undo::Own, 10 * MINUTE),
    polled("upsertImageTags", "upsert-image-tags", Undo::Own, 10 * MINUTE),
    polled("upsertLoadBalancer", "upsert-load-balancer", Undo::Own, 10 * MINUTE),
    polled("upsertLoadBalancers", "upsert-load-balancers", Undo::Own, 10 * MINUTE),
    polled("upsertPluginInfo", "upsert-plugin-info", Undo::Own, 2 * MINUTE),
    polled("upsertProject", "upsert-project", Undo::Own, 2 * MINUTE),
    polled("upsertScalingPolicy", "upsert-scaling-policy", Undo::Own, 10 * MINUTE),
    polled("upsertSecurityGroup", "upsert-security-group", Undo::Own, 10 * MINUTE),
    polled("upsertServerGroupTags", "upsert-server-group-tags", Undo::Own, 10 * MINUTE),
    polled("wait", "wait", Undo::Nothing, 0),
    polled("waitForCondition", "wait-for-condition", Undo::Nothing, DAY),
    polled("waitUntil", "wait-until", Undo::Nothing, 0),
    polled("watchAlarms", "watch-alarms", Undo::Nothing, DAY),
    polled("webhook", "webhook", Undo::Told, HOUR),
];

/// Stage types of Spinnaker that Gennaker does not run, and the provider each belongs to.
pub const OUTSIDE_AWS: &[(&str, &str)] = &[
    (
        "acaTask",
        "Netflix's own canary service, which `kayentaCanary` replaced",
    ),
    ("associateElasticIp", "Titus"),
    ("attachClassicLink", "EC2-Classic, which AWS has retired"),
    ("bakeCloudFoundryManifest", "Cloud Foundry"),
    ("bulkQuickPatch", "Netflix's own patch service"),
    (
        "canary",
        "Netflix's own canary service, which `kayentaCanary` replaced",
    ),
    ("concourse", "Concourse"),
    ("createServiceBindings", "Cloud Foundry"),
    ("createServiceKey", "Cloud Foundry"),
    ("deleteServiceBindings", "Cloud Foundry"),
    ("deleteServiceKey", "Cloud Foundry"),
    ("deployAppEngineConfiguration", "App Engine"),
    (
        "deployCanary",
        "Netflix's own canary service, which `kayentaCanary` replaced",
    ),
    ("deployCloudrunManifest", "Cloud Run"),
    ("deployService", "Cloud Foundry"),
    ("destroyService", "Cloud Foundry"),
    ("disableInstancesInDiscovery", "Eureka"),
    ("disassociateElasticIp", "Titus"),
    ("editAppEngineLoadBalancer", "App Engine"),
    ("enableInstancesInDiscovery", "Eureka"),
    ("googleCloudBuild", "Google Cloud Build"),
    ("gremlin", "Gremlin"),
    (
        "monitorCanary",
        "Netflix's own canary service, which `kayentaCanary` replaced",
    ),
    ("quickPatch", "Netflix's own patch service"),
    ("restoreSnapshot", "Google Compute Engine"),
    ("saveSnapshot", "Google Compute Engine"),
    ("setStatefulDisk", "Google Compute Engine"),
    ("shareService", "Cloud Foundry"),
    ("startAppEngineServerGroup", "App Engine"),
    ("statefullyUpdateBootImage", "Google Compute Engine"),
    ("stopAppEngineServerGroup", "App Engine"),
    ("travis", "Travis"),
    ("unshareService", "Cloud Foundry"),
    ("updateJobProcesses", "Titus"),
    ("upsertAppEngineLoadBalancers", "App Engine"),
    ("upsertCloudrunLoadBalancers", "Cloud Run"),
    ("upsertDisruptionBudget", "Titus"),
    ("wercker", "Wercker"),
];

/// The stage type of this name, if it compiles. `deploy` is not among them: it is expanded.
#[must_use]
pub fn stage_type(name: &str) -> Option<&'static StageType> {
    STAGE_TYPES
        .iter()
        .find(|stage_type| stage_type.name == name)
}

/// Whether a stage type compiles: those of the list, and `deploy`.
#[must_use]
pub fn is_known(name: &str) -> bool {
    name == "deploy" || stage_type(name).is_some()
}

/// The provider that a stage type outside AWS belongs to.
#[must_use]
pub fn outside_aws(name: &str) -> Option<&'static str> {
    OUTSIDE_AWS
        .iter()
        .find(|(stage_type, _)| *stage_type == name)
        .map(|(_, provider)| *provider)
}

/// The known stage type that a misspelt one resembles most.
#[must_use]
pub fn did_you_mean(name: &str) -> Option<&'static str> {
    // Longer texts cannot be a misspelling, and the comparison costs their product.
    if name.len() > 60 {
        return None;
    }
    let lower = name.to_lowercase();
    let names = STAGE_TYPES
        .iter()
        .map(|stage_type| stage_type.name)
        .chain(["deploy"]);
    names
        .map(|known| {
            (
                strsim::damerau_levenshtein(&lower, &known.to_lowercase()),
                known,
            )
        })
        .filter(|(distance, known)| *distance <= 1 + known.len() / 5)
        .min_by_key(|(distance, known)| (*distance, *known))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::built::BUILT;

    #[test]
    fn every_type_is_listed_once_and_every_function_has_a_name_that_a_folder_can_have() {
        let mut names = HashSet::new();
        for known in STAGE_TYPES {
            assert!(names.insert(known.name), "{} twice", known.name);
            assert!(outside_aws(known.name).is_none(), "{}", known.name);
            let kebab = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(known.function.chars().all(kebab), "{}", known.function);
            // `<prefix>-<function>` is at most 64 characters, the prefix at most 20.
            assert!(known.function.len() <= 43, "{}", known.function);
        }
    }

    #[test]
    fn what_is_built_serves_a_stage_type() {
        for function in BUILT {
            assert!(
                STAGE_TYPES.iter().any(|known| known.function == *function),
                "{function}"
            );
        }
    }

    #[test]
    fn what_spinnaker_had_and_nobody_needs_any_more_is_named() {
        for (name, word) in [
            ("canary", "kayentaCanary"),
            ("attachClassicLink", "retired"),
            ("updateJobProcesses", "Titus"),
        ] {
            assert!(
                outside_aws(name).unwrap_or_default().contains(word),
                "{name}"
            );
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_a_different_word_is_not() {
        assert_eq!(did_you_mean("resizeServergroup"), Some("resizeServerGroup"));
        assert_eq!(did_you_mean("Wait"), Some("wait"));
        assert_eq!(did_you_mean("deploi"), Some("deploy"));
        assert_eq!(did_you_mean("terraform"), None);
    }
}
