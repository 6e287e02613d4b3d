#![doc = include_str!("../README.md")]

pub mod asked;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::auto_scaling::{Group, TemplateVersion};
use gennaker_cloud::ec2::{ImageRef, LaunchData};
use gennaker_cloud::instance_refresh::{
    DesiredConfiguration, InstanceRefresh as Refresh, RefreshPreferences,
};
use gennaker_cloud::{CloudError, Connection, Ec2Clouds};
use gennaker_cloud_ec2::AwsEc2Clouds;
use gennaker_domain::Intent;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::config::undo_text;
use gennaker_server_groups::image_sharing::{Launchable, Wanted};
use gennaker_server_groups::targets::Found;
use gennaker_server_groups::{
    AwsClouds, Clouds, Place, clouds, config, image_sharing, launch_template, observe, targets,
};
use serde_json::{Map, Value, json};

use asked::Asked;

/// Hours after which a refresh is given up unless `stageTimeoutMs` says otherwise.
const TIME_LIMIT_HOURS: i64 = 8;
const HOUR_MILLIS: i64 = 3_600_000;
/// Auto Scaling tells when a refresh began in whole seconds.
const SECOND_MILLIS: i64 = 1_000;

/// Replaces the instances of a server group where they are.
pub struct InstanceRefresh {
    clouds: Arc<dyn Clouds>,
    ec2: Arc<dyn Ec2Clouds>,
}

/// What becomes of one group.
enum Progress {
    Done(Value),
    Waiting(String),
    Failed(String),
}

fn action(region: &str, name: &str) -> String {
    format!("refresh-server-group {region} {name}")
}

/// By which the version of the launch template that this stage makes is known again.
fn description(invocation: &Invocation<'_>, name: &str) -> String {
    launch_template::description(invocation.run, &invocation.stage.ref_id, name)
}

fn template_json(template: &TemplateVersion) -> Value {
    json!({ "id": template.id, "version": template.version })
}

fn template_of(value: Option<&Value>) -> Option<TemplateVersion> {
    let text = |key: &str| Some(value?.get(key)?.as_str()?.to_owned());
    Some(TemplateVersion {
        id: text("id")?,
        version: text("version")?,
    })
}

/// The refresh that was started for this intent: the newest one since then that wants the same.
fn own<'a>(
    refreshes: &'a [Refresh],
    since: i64,
    template: Option<&TemplateVersion>,
) -> Option<&'a Refresh> {
    refreshes.iter().find(|refresh| {
        refresh.started_millis.saturating_add(SECOND_MILLIS) > since
            && refresh.template.as_ref() == template
    })
}

/// A refresh that somebody else began, or this stage just now.
fn is_in_progress(error: &CloudError) -> bool {
    matches!(error, CloudError::Refused { code, .. } if code == "InstanceRefreshInProgress")
}

/// A refresh that ended meanwhile.
fn is_over(error: &CloudError) -> bool {
    matches!(error, CloudError::Refused { code, .. } if code == "ActiveInstanceRefreshNotFound")
}

impl InstanceRefresh {
    /// Over these clouds.
    #[must_use]
    pub fn new(clouds: Arc<dyn Clouds>, ec2: Arc<dyn Ec2Clouds>) -> Self {
        Self { clouds, ec2 }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(
            Arc::new(AwsClouds::new(connection)),
            Arc::new(AwsEc2Clouds::new(connection)),
        )
    }

    /// The version of the cluster's launch template that an earlier try made for this stage, if one did.
    async fn made(
        &self,
        invocation: &Invocation<'_>,
        place: &Place,
        name: &str,
    ) -> Result<Option<TemplateVersion>, StageError> {
        let ec2 = self
            .ec2
            .ec2(&place.account, &place.region, invocation.run)
            .await;
        let template = launch_template::name(&observe::cluster_of(name));
        Ok(ec2
            .template_version(&template, &description(invocation, name))
            .await?)
    }

    /// The version of the cluster's launch template that launches the image: the group's own with another image. Made
    /// once for an intent, found again by its description.
    async fn target(
        &self,
        invocation: &Invocation<'_>,
        place: &Place,
        before: &TemplateVersion,
        image: &str,
        name: &str,
    ) -> Result<TemplateVersion, StageError> {
        if let Some(known) = self.made(invocation, place, name).await? {
            return Ok(known);
        }
        let ec2 = self
            .ec2
            .ec2(&place.account, &place.region, invocation.run)
            .await;
        let data = ec2.template_data(before).await?.ok_or_else(|| {
            StageError::invalid(
                "target",
                format!(
                    "version {} of the launch template {} of `{name}` is gone",
                    before.version, before.id
                ),
            )
        })?;
        let data = LaunchData {
            image: image.to_owned(),
            ..data
        };
        let cluster = observe::cluster_of(name);
        let run = invocation.run.to_string();
        let token = launch_template::token(&[&run, &invocation.stage.ref_id, name]);
        let tags = BTreeMap::from([("spinnaker:cluster".to_owned(), cluster.clone())]);
        let description = description(invocation, name);
        invocation.may_change()?;
        Ok(ec2
            .create_template_version(
                &launch_template::name(&cluster),
                &description,
                &token,
                &data,
                &tags,
            )
            .await?)
    }

    /// The image that the stage names; one of another account is shared with this one first.
    async fn image(
        &self,
        invocation: &Invocation<'_>,
        found: &Found,
        image: &ImageRef,
    ) -> Result<Launchable, StageError> {
        let wanted = Wanted {
            place: &found.place,
            image,
            field: match image {
                ImageRef::Id(_) => "imageId",
                ImageRef::Name(_) => "amiName",
            },
            upstream: None,
            intents: &found.announced,
        };
        image_sharing::launchable(invocation, &*self.ec2, &wanted).await
    }

    /// Announces the refresh of a group; what stands in its way is waited for.
    async fn announce(
        &self,
        invocation: &Invocation<'_>,
        asked: &Asked,
        found: &Found,
        refreshes: &[Refresh],
    ) -> Result<Progress, StageError> {
        let (place, name) = (&found.place, found.name.as_str());
        let Some(group) = &found.group else {
            return Ok(Progress::Failed(format!("server group `{name}` is gone")));
        };
        if let Some(other) = refreshes.iter().find(|refresh| refresh.is_active()) {
            return Ok(Progress::Waiting(format!(
                "instance refresh {} of `{name}`, which somebody else began, is {}",
                other.id, other.status
            )));
        }
        let image = match &asked.image {
            None => None,
            Some(image) => match self.image(invocation, found, image).await? {
                Launchable::Now(image) => Some(image.id),
                Launchable::Waiting(reason) => return Ok(Progress::Waiting(reason)),
            },
        };
        let before = before_of(group, image.is_some())?;
        let undo = json!({
            "account": place.account.name,
            "region": place.region,
            "serverGroup": name,
            "image": image,
            "before": before.as_ref().map(template_json),
        });
        invocation
            .intend(&action(&place.region, name), undo)
            .await?;
        Ok(Progress::Waiting(format!(
            "instance refresh of `{name}` announced"
        )))
    }

    /// Starts the refresh that is announced; one that was started already is refused by Auto Scaling and found.
    async fn start(
        &self,
        invocation: &Invocation<'_>,
        asked: &Asked,
        found: &Found,
        target: Option<TemplateVersion>,
    ) -> Result<Progress, StageError> {
        let (place, name) = (&found.place, found.name.as_str());
        if found.group.is_none() {
            return Ok(Progress::Failed(format!("server group `{name}` is gone")));
        }
        let desired = self.desired(place, name, target).await?;
        let started = place
            .instance_refreshes
            .start_refresh(name, desired.as_ref(), &asked.preferences)
            .await;
        match started {
            Ok(_) => {
                invocation.done(&action(&place.region, name)).await?;
                Ok(Progress::Waiting(format!(
                    "instance refresh of `{name}` started"
                )))
            }
            // Ours, and not described yet, or somebody's who was faster: seen at the next look.
            Err(error) if is_in_progress(&error) => Ok(Progress::Waiting(format!(
                "another instance refresh of `{name}` is at work"
            ))),
            Err(error) => Err(error.into()),
        }
    }

    async fn desired(
        &self,
        place: &Place,
        name: &str,
        target: Option<TemplateVersion>,
    ) -> Result<Option<DesiredConfiguration>, StageError> {
        let Some(template) = target else {
            return Ok(None);
        };
        let details = place.auto_scaling.details(name).await?;
        Ok(Some(DesiredConfiguration {
            template,
            mixed_instances: details.and_then(|details| details.mixed_instances),
        }))
    }

    /// What becomes of one group, by what Auto Scaling says of its refreshes.
    async fn advance(
        &self,
        invocation: &Invocation<'_>,
        asked: &Asked,
        found: &Found,
    ) -> Result<Progress, StageError> {
        let (place, name) = (&found.place, found.name.as_str());
        let refreshes = place.instance_refreshes.refreshes(name).await?;
        let Some(intent) = &found.intent else {
            return self.announce(invocation, asked, found, &refreshes).await;
        };
        let before = template_of(intent.undo.get("before"));
        let target = match (&before, intent.undo.get("image").and_then(Value::as_str)) {
            (Some(before), Some(image)) => {
                Some(self.target(invocation, place, before, image, name).await?)
            }
            _ => None,
        };
        let Some(refresh) = own(&refreshes, intent.at, target.as_ref()) else {
            if intent.done {
                return Ok(Progress::Waiting(format!(
                    "instance refresh of `{name}` is not described yet"
                )));
            }
            return self.start(invocation, asked, found, target).await;
        };
        if !intent.done {
            invocation.done(&action(&place.region, name)).await?;
        }
        let what = format!("instance refresh {} of `{name}`", refresh.id);
        Ok(match refresh.status.as_str() {
            "Successful" => Progress::Done(json!({ "id": refresh.id, "serverGroup": name })),
            "Failed" | "Cancelled" | "RollbackFailed" => {
                Progress::Failed(format!("{what} is {}: {}", refresh.status, refresh.reason))
            }
            "RollbackSuccessful" => {
                Progress::Failed(format!("{what} rolled itself back: {}", refresh.reason))
            }
            status => Progress::Waiting(format!(
                "{what} is {status}, {} % are replaced",
                refresh.percentage
            )),
        })
    }

    /// Starts the way back of a refresh that is over, and answers how far it is.
    async fn back(
        &self,
        place: &Place,
        name: &str,
        before: TemplateVersion,
        refreshes: &[Refresh],
        since: i64,
    ) -> Result<Undo, StageError> {
        match own(refreshes, since, Some(&before)) {
            Some(back) if back.is_active() => Ok(Undo::Waiting {
                reason: format!("`{name}` goes back, {} % are replaced", back.percentage),
            }),
            Some(back) if back.status == "Successful" => Ok(Undo::Done {
                result: format!("server group `{name}` has its instances of before again"),
            }),
            Some(back) => Err(StageError::invalid(
                "",
                format!(
                    "instance refresh {} of `{name}`, the way back, is {}: {}",
                    back.id, back.status, back.reason
                ),
            )),
            None => {
                let desired = self.desired(place, name, Some(before)).await?;
                let preferences = RefreshPreferences {
                    // What was never replaced stays.
                    skip_matching: true,
                    scale_in_protected: "Refresh".to_owned(),
                    standby: "Ignore".to_owned(),
                    ..RefreshPreferences::default()
                };
                let started = place
                    .instance_refreshes
                    .start_refresh(name, desired.as_ref(), &preferences)
                    .await;
                match started {
                    Err(error) if !is_in_progress(&error) => Err(error.into()),
                    _ => Ok(Undo::Waiting {
                        reason: format!("`{name}` goes back"),
                    }),
                }
            }
        }
    }

    /// One step of the undo for a group that is there.
    async fn undo_in(
        &self,
        invocation: &Invocation<'_>,
        intent: &Intent,
        place: &Place,
        name: &str,
    ) -> Result<Undo, StageError> {
        let done = |result: String| Ok(Undo::Done { result });
        let before = template_of(intent.undo.get("before"));
        let refreshes = place.instance_refreshes.refreshes(name).await?;
        let image = intent.undo.get("image").and_then(Value::as_str);
        let (Some(before), Some(_)) = (before, image) else {
            // The same configuration: what was replaced is as good as what was there.
            let mine = own(&refreshes, intent.at, None).filter(|refresh| refresh.is_active());
            return match mine {
                None => done(format!("`{name}` launches what it launched before")),
                Some(mine) if mine.status == "Cancelling" => Ok(Undo::Waiting {
                    reason: format!("instance refresh {} of `{name}` is being canceled", mine.id),
                }),
                Some(mine) => match place.instance_refreshes.cancel_refresh(name).await {
                    Err(error) if !is_over(&error) => Err(error.into()),
                    _ => Ok(Undo::Waiting {
                        reason: format!("instance refresh {} of `{name}` is canceled", mine.id),
                    }),
                },
            };
        };
        let target = self.made(invocation, place, name).await?;
        let mine = target.and_then(|target| own(&refreshes, intent.at, Some(&target)));
        let Some(mine) = mine else {
            return done(format!("`{name}` was not changed yet"));
        };
        match mine.status.as_str() {
            "RollbackSuccessful" => done(format!(
                "server group `{name}` has its instances of before again"
            )),
            "RollbackInProgress" | "Cancelling" => Ok(Undo::Waiting {
                reason: format!(
                    "instance refresh {} of `{name}` is {}",
                    mine.id, mine.status
                ),
            }),
            "Pending" | "InProgress" | "Baking" => {
                match place.instance_refreshes.roll_back_refresh(name).await {
                    Err(error) if !is_over(&error) => Err(error.into()),
                    _ => Ok(Undo::Waiting {
                        reason: format!("instance refresh {} of `{name}` is rolled back", mine.id),
                    }),
                }
            }
            // Over, in whichever way: what was replaced is replaced once more.
            _ => self.back(place, name, before, &refreshes, intent.at).await,
        }
    }
}

/// The group's launch template, which a change of the image has to be able to go back to.
fn before_of(group: &Group, changes: bool) -> Result<Option<TemplateVersion>, StageError> {
    let is_number = |template: &TemplateVersion| template.version.parse::<u64>().is_ok();
    match &group.launch_template {
        Some(template) if is_number(template) => Ok(Some(template.clone())),
        _ if !changes => Ok(None),
        Some(template) => Err(StageError::invalid(
            "target",
            format!(
                "server group `{}` launches version `{}` of {}, which changes under it: a refresh could not be rolled back; give it a version by number",
                group.name, template.version, template.id
            ),
        )),
        None => Err(StageError::invalid(
            "target",
            format!(
                "server group `{}` has no launch template: its image cannot be changed",
                group.name
            ),
        )),
    }
}

#[async_trait]
impl Stage for InstanceRefresh {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let asked = Asked::of(&context)?;
        let mut refreshed = Map::new();
        let mut waiting = Vec::new();
        for found in targets::find(&*self.clouds, invocation, "refresh-").await? {
            match self.advance(invocation, &asked, &found).await? {
                Progress::Done(what) => {
                    refreshed.insert(found.place.region.clone(), what);
                }
                Progress::Waiting(reason) => waiting.push(reason),
                Progress::Failed(reason) => return Ok(Step::failed(reason)),
            }
        }
        if waiting.is_empty() {
            let outputs = Map::from_iter([("instanceRefreshes".to_owned(), refreshed.into())]);
            return Ok(Step::Succeeded {
                context: outputs.clone(),
                outputs,
            });
        }
        let reason = waiting.join("; ");
        if invocation.spent() > TIME_LIMIT_HOURS.saturating_mul(HOUR_MILLIS)
            && !context.contains_key("stageTimeoutMs")
        {
            return Ok(Step::failed(format!(
                "not done after {TIME_LIMIT_HOURS} hours: {reason}"
            )));
        }
        Ok(Step::waiting(invocation, reason))
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        if let Some(undone) = image_sharing::undo(intent) {
            return Ok(undone);
        }
        let name = undo_text(intent, "serverGroup");
        let place = clouds::place_of(&*self.clouds, invocation, intent).await?;
        let undone = if observe::group(&place, name).await?.is_none() {
            Undo::Done {
                result: format!("server group `{name}` is gone"),
            }
        } else {
            self.undo_in(invocation, intent, &place, name).await?
        };
        if matches!(undone, Undo::Done { .. }) && intent.undo.get("image").is_some() {
            let ec2 = self
                .ec2
                .ec2(&place.account, &place.region, invocation.run)
                .await;
            let cluster = observe::cluster_of(name);
            let description = description(invocation, name);
            launch_template::remove_version(&place, &*ec2, &cluster, &description).await?;
        }
        Ok(undone)
    }
}
