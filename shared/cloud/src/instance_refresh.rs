//! The port to instance refreshes of EC2 Auto Scaling, and its adapter.

use async_trait::async_trait;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types as sdk;

use crate::auto_scaling::{MixedInstances, TemplateVersion, mixed_policy, template, template_of};
use crate::error::from_sdk;
use crate::{CloudError, Connection, Lazy};

/// How a refresh replaces instances; what is none is as Auto Scaling has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshPreferences {
    /// So much of the group is healthy all the time, percent.
    pub min_healthy_percentage: Option<i32>,
    /// The group grows up to so much, percent: 100 to 200, 100 more than the minimum at most.
    pub max_healthy_percentage: Option<i32>,
    /// Seconds after which a new instance counts as ready.
    pub warmup_seconds: Option<i32>,
    /// Percentages at which it pauses, ascending; the last one is 100.
    pub checkpoint_percentages: Vec<i32>,
    /// How long it pauses there, seconds.
    pub checkpoint_delay_seconds: Option<i32>,
    /// How long alarms are watched in the end, seconds.
    pub bake_seconds: Option<i32>,
    /// Alarms that fail it.
    pub alarms: Vec<String>,
    /// Instances that are as wanted already stay.
    pub skip_matching: bool,
    /// It rolls itself back when it fails.
    pub auto_rollback: bool,
    /// `Refresh`, `Ignore` or `Wait`.
    pub scale_in_protected: String,
    /// `Terminate`, `Ignore` or `Wait`.
    pub standby: String,
}

/// What the group is to launch from then on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredConfiguration {
    /// A version by number: one that is rolled back may be neither `$Latest` nor `$Default`.
    pub template: TemplateVersion,
    /// Of a group that mixes instance types: how it does.
    pub mixed_instances: Option<MixedInstances>,
}

/// A refresh as Auto Scaling describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceRefresh {
    /// Its id.
    pub id: String,
    /// `Pending`, `InProgress`, `Baking`, `Successful`, `Failed`, `Cancelling`, `Cancelled`, `RollbackInProgress`,
    /// `RollbackSuccessful`, `RollbackFailed`.
    pub status: String,
    /// Why it is so, for a person.
    pub reason: String,
    /// How much of the group is replaced, percent.
    pub percentage: i32,
    /// When it began, UTC milliseconds; whole seconds on AWS.
    pub started_millis: i64,
    /// What it wants; none replaces instances by ones of the same configuration.
    pub template: Option<TemplateVersion>,
}

impl InstanceRefresh {
    /// Whether it is at work, in whichever direction: a group has one such refresh at most.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(
            self.status.as_str(),
            "Pending" | "InProgress" | "Baking" | "Cancelling" | "RollbackInProgress"
        )
    }
}

/// The calls about instance refreshes.
#[async_trait]
pub trait InstanceRefreshes: Send + Sync {
    /// The refreshes of a group, newest first; Auto Scaling forgets them after six weeks.
    /// (`autoscaling:DescribeInstanceRefreshes`)
    async fn refreshes(&self, name: &str) -> Result<Vec<InstanceRefresh>, CloudError>;

    /// Starts a refresh and answers its id. A second one while one is at work is refused with
    /// `InstanceRefreshInProgress`; there is no token, so look first. (`autoscaling:StartInstanceRefresh`; Auto Scaling
    /// checks that whoever names a launch template could launch from it: `ec2:RunInstances`, `iam:PassRole` of its
    /// instance role)
    async fn start_refresh(
        &self,
        name: &str,
        desired: Option<&DesiredConfiguration>,
        preferences: &RefreshPreferences,
    ) -> Result<String, CloudError>;

    /// Stops the refresh that is at work; what it replaced stays replaced. Refused with
    /// `ActiveInstanceRefreshNotFound` where none is. (`autoscaling:CancelInstanceRefresh`)
    async fn cancel_refresh(&self, name: &str) -> Result<(), CloudError>;

    /// Turns the refresh that is at work round: instances and configuration are those of before. Refused with
    /// `ActiveInstanceRefreshNotFound` where none is, and with `IrreversibleInstanceRefresh` where it has no desired
    /// configuration. (`autoscaling:RollbackInstanceRefresh`)
    async fn roll_back_refresh(&self, name: &str) -> Result<(), CloudError>;
}

/// The calls of [`InstanceRefreshes`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "InstanceRefreshes":
        REFRESHES = "refreshes" => ["autoscaling:DescribeInstanceRefreshes"];
        START_REFRESH = "start_refresh" => ["autoscaling:StartInstanceRefresh", "ec2:RunInstances", "iam:PassRole"];
        CANCEL_REFRESH = "cancel_refresh" => ["autoscaling:CancelInstanceRefresh"];
        ROLL_BACK_REFRESH = "roll_back_refresh" => ["autoscaling:RollbackInstanceRefresh"];
    }
}

/// Instance refreshes in one account and region.
#[derive(Clone, Debug)]
pub struct AwsInstanceRefreshes {
    client: Lazy<Client>,
}

impl AwsInstanceRefreshes {
    /// In the connection's account and region. Makes no call.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client(Client::new),
        }
    }
}

fn refresh_of(refresh: &sdk::InstanceRefresh) -> InstanceRefresh {
    let desired = refresh.desired_configuration();
    let mixed = desired
        .and_then(|desired| desired.mixed_instances_policy())
        .and_then(|mixed| mixed.launch_template())
        .and_then(|template| template.launch_template_specification());
    InstanceRefresh {
        id: refresh.instance_refresh_id().unwrap_or_default().to_owned(),
        status: refresh
            .status()
            .map_or_else(String::new, |status| status.as_str().to_owned()),
        reason: refresh.status_reason().unwrap_or_default().to_owned(),
        percentage: refresh.percentage_complete().unwrap_or(0),
        started_millis: refresh
            .start_time()
            .and_then(|time| time.to_millis().ok())
            .unwrap_or(0),
        template: desired
            .and_then(|desired| desired.launch_template())
            .or(mixed)
            .map(template_of),
    }
}

fn preferences_of(preferences: &RefreshPreferences) -> sdk::RefreshPreferences {
    let checkpoints = &preferences.checkpoint_percentages;
    let alarms = &preferences.alarms;
    sdk::RefreshPreferences::builder()
        .set_min_healthy_percentage(preferences.min_healthy_percentage)
        .set_max_healthy_percentage(preferences.max_healthy_percentage)
        .set_instance_warmup(preferences.warmup_seconds)
        .set_checkpoint_percentages((!checkpoints.is_empty()).then(|| checkpoints.clone()))
        .set_checkpoint_delay(preferences.checkpoint_delay_seconds)
        .set_bake_time(preferences.bake_seconds)
        .set_alarm_specification((!alarms.is_empty()).then(|| {
            sdk::AlarmSpecification::builder()
                .set_alarms(Some(alarms.clone()))
                .build()
        }))
        .skip_matching(preferences.skip_matching)
        .auto_rollback(preferences.auto_rollback)
        .scale_in_protected_instances(preferences.scale_in_protected.as_str().into())
        .standby_instances(preferences.standby.as_str().into())
        .build()
}

fn desired_of(desired: &DesiredConfiguration) -> sdk::DesiredConfiguration {
    let builder = sdk::DesiredConfiguration::builder();
    match &desired.mixed_instances {
        Some(mixed) => builder.mixed_instances_policy(mixed_policy(mixed, &desired.template)),
        None => builder.launch_template(template(&desired.template)),
    }
    .build()
}

#[async_trait]
impl InstanceRefreshes for AwsInstanceRefreshes {
    async fn refreshes(&self, name: &str) -> Result<Vec<InstanceRefresh>, CloudError> {
        let output = self
            .client
            .describe_instance_refreshes()
            .auto_scaling_group_name(name)
            // The newest ones: a stage asks for what it has just started.
            .max_records(20)
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:DescribeInstanceRefreshes", name, &error))?;
        Ok(output.instance_refreshes().iter().map(refresh_of).collect())
    }

    async fn start_refresh(
        &self,
        name: &str,
        desired: Option<&DesiredConfiguration>,
        preferences: &RefreshPreferences,
    ) -> Result<String, CloudError> {
        let output = self
            .client
            .start_instance_refresh()
            .auto_scaling_group_name(name)
            .strategy(sdk::RefreshStrategy::Rolling)
            .set_desired_configuration(desired.map(desired_of))
            .preferences(preferences_of(preferences))
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:StartInstanceRefresh", name, &error))?;
        Ok(output.instance_refresh_id().unwrap_or_default().to_owned())
    }

    async fn cancel_refresh(&self, name: &str) -> Result<(), CloudError> {
        self.client
            .cancel_instance_refresh()
            .auto_scaling_group_name(name)
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:CancelInstanceRefresh", name, &error))?;
        Ok(())
    }

    async fn roll_back_refresh(&self, name: &str) -> Result<(), CloudError> {
        self.client
            .rollback_instance_refresh()
            .auto_scaling_group_name(name)
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:RollbackInstanceRefresh", name, &error))?;
        Ok(())
    }
}
