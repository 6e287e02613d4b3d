//! Instance refreshes in the world: instances are replaced in steps, as many at once as the healthy minimum allows.

use async_trait::async_trait;
use gennaker_cloud::CloudError;
use gennaker_cloud::auto_scaling::TemplateVersion;
use gennaker_cloud::instance_refresh::{
    DesiredConfiguration, InstanceRefresh, InstanceRefreshes, RefreshPreferences,
};

use super::{Effect, State, World, refused};

/// A refresh that was started.
#[derive(Clone, Debug)]
pub(super) struct StoredRefresh {
    id: String,
    status: &'static str,
    reason: String,
    started: i64,
    /// Since when it works in its present direction: what was launched since is as it wants.
    since: i64,
    before: Option<TemplateVersion>,
    target: Option<TemplateVersion>,
    preferences: RefreshPreferences,
}

impl StoredRefresh {
    fn is_active(&self) -> bool {
        matches!(self.status, "InProgress" | "RollbackInProgress")
    }

    fn rolls_back(&self) -> bool {
        self.status == "RollbackInProgress"
    }

    /// What it wants the group to launch; none is what it launches anyway.
    fn goal(&self) -> Option<&TemplateVersion> {
        if self.rolls_back() {
            self.before.as_ref()
        } else {
            self.target.as_ref()
        }
    }

    fn turn_round(&mut self, now: i64) {
        self.status = "RollbackInProgress";
        self.since = now;
    }
}

/// What comes next in a refresh.
enum Next {
    Nothing,
    /// These instances are replaced now.
    Replace(Vec<String>),
    Done,
    Failed,
}

fn image_of(
    templates: &std::collections::BTreeMap<String, Vec<super::Version>>,
    template: &TemplateVersion,
) -> Option<String> {
    let number: usize = template.version.parse().ok()?;
    let version = templates.get(&template.id)?.get(number.checked_sub(1)?)?;
    Some(version.image.clone())
}

impl State {
    /// One step of every refresh at work.
    pub(super) fn refresh(&mut self) {
        let active: Vec<String> = self
            .refreshes
            .iter()
            .filter(|(_, all)| all.last().is_some_and(StoredRefresh::is_active))
            .map(|(key, _)| key.clone())
            .collect();
        for key in active {
            let next = self.next_of_refresh(&key);
            let now = self.now;
            let (Some(stored), Some(refresh)) = (
                self.groups.get_mut(&key),
                self.refreshes.get_mut(&key).and_then(|all| all.last_mut()),
            ) else {
                continue;
            };
            match next {
                Next::Nothing => {}
                Next::Replace(ids) => {
                    for instance in &mut stored.instances {
                        if ids.contains(&instance.id) {
                            instance.terminating = Some(now);
                        }
                    }
                }
                Next::Done => {
                    if let Some(goal) = refresh.goal() {
                        stored.group.launch_template = Some(goal.clone());
                    }
                    refresh.status = if refresh.rolls_back() {
                        "RollbackSuccessful"
                    } else {
                        "Successful"
                    };
                }
                Next::Failed if refresh.preferences.auto_rollback && !refresh.rolls_back() => {
                    "an instance did not become healthy".clone_into(&mut refresh.reason);
                    refresh.turn_round(now);
                }
                Next::Failed => {
                    "an instance did not become healthy".clone_into(&mut refresh.reason);
                    refresh.status = if refresh.rolls_back() {
                        "RollbackFailed"
                    } else {
                        "Failed"
                    };
                }
            }
            let goal = refresh.goal().cloned();
            stored.launching = goal.filter(|_| refresh.is_active());
        }
    }

    fn next_of_refresh(&self, key: &str) -> Next {
        let Some(refresh) = self.refreshes.get(key).and_then(|all| all.last()) else {
            return Next::Nothing;
        };
        let Some(stored) = self.groups.get(key) else {
            return Next::Failed;
        };
        let image = refresh
            .goal()
            .and_then(|goal| image_of(&self.templates, goal));
        let living: Vec<_> = stored
            .instances
            .iter()
            .filter(|instance| instance.terminating.is_none())
            .collect();
        let (new, old): (Vec<_>, Vec<_>) = living.iter().copied().partition(|instance| {
            let is_wanted = image.as_ref().is_none_or(|image| *image == instance.image);
            let stays = refresh.preferences.skip_matching && image.is_some();
            // Launched in the moment in which the refresh turned round, it is still of the other image.
            is_wanted && (stays || instance.launched >= refresh.since)
        });
        let patience = self.behaviour.boot_millis.saturating_mul(2);
        let given_up = new.iter().any(|instance| {
            self.is_bad(instance) && self.now >= instance.launched.saturating_add(patience)
        });
        if given_up {
            return Next::Failed;
        }
        let wanted = stored.group.capacity.desired() as usize;
        let healthy = living
            .iter()
            .filter(|instance| self.healthy(instance))
            .count();
        if !new.iter().all(|instance| self.healthy(instance)) || living.len() < wanted {
            return Next::Nothing;
        }
        if old.is_empty() {
            return Next::Done;
        }
        let percent = refresh.preferences.min_healthy_percentage.unwrap_or(90);
        let percent = usize::try_from(percent).unwrap_or(0);
        let floor = (wanted * percent).div_ceil(100);
        // One at least: with one instance, or a minimum of all of them, there would never be a beginning.
        let most = healthy.saturating_sub(floor).max(1);
        Next::Replace(
            old.iter()
                .take(most)
                .map(|instance| instance.id.clone())
                .collect(),
        )
    }
}

impl World {
    fn with_active<T>(
        &self,
        operation: &str,
        name: &str,
        effect: impl FnOnce(&mut StoredRefresh, i64) -> Result<T, CloudError>,
    ) -> Result<T, CloudError> {
        let key = self.key(name);
        self.call(operation, name, |state| {
            let now = state.now;
            let newest = state.refreshes.get_mut(&key).and_then(|all| all.last_mut());
            match newest.filter(|refresh| refresh.is_active()) {
                Some(refresh) => effect(refresh, now),
                None => Err(refused(
                    operation,
                    name,
                    "ActiveInstanceRefreshNotFound",
                    "No in progress or pending Instance Refresh found",
                )),
            }
        })
    }
}

#[async_trait]
impl InstanceRefreshes for World {
    async fn refreshes(&self, name: &str) -> Result<Vec<InstanceRefresh>, CloudError> {
        let key = self.key(name);
        self.call("autoscaling:DescribeInstanceRefreshes", name, |state| {
            let all = state.refreshes.get(&key).into_iter().flatten().rev();
            Ok(all
                .map(|refresh| InstanceRefresh {
                    id: refresh.id.clone(),
                    status: refresh.status.to_owned(),
                    reason: refresh.reason.clone(),
                    percentage: if refresh.is_active() { 50 } else { 100 },
                    // In whole seconds, as AWS tells it.
                    started_millis: refresh.started / 1_000 * 1_000,
                    template: refresh.target.clone(),
                })
                .collect())
        })
    }

    async fn start_refresh(
        &self,
        name: &str,
        desired: Option<&DesiredConfiguration>,
        preferences: &RefreshPreferences,
    ) -> Result<String, CloudError> {
        const OPERATION: &str = "autoscaling:StartInstanceRefresh";
        let key = self.key(name);
        self.call(OPERATION, name, |state| {
            let now = state.now;
            let before = state.group_mut(OPERATION, &key)?.launch_template.clone();
            let all = state.refreshes.entry(key.clone()).or_default();
            if all.last().is_some_and(StoredRefresh::is_active) {
                return Err(refused(
                    OPERATION,
                    name,
                    "InstanceRefreshInProgress",
                    "An Instance Refresh is already in progress",
                ));
            }
            let id = format!("refresh-{}", all.len() + 1);
            all.push(StoredRefresh {
                id: id.clone(),
                status: "InProgress",
                reason: String::new(),
                started: now,
                since: now,
                before,
                target: desired.map(|desired| desired.template.clone()),
                preferences: preferences.clone(),
            });
            state.note(self.region(), name, Effect::Refreshed);
            Ok(id)
        })
    }

    async fn cancel_refresh(&self, name: &str) -> Result<(), CloudError> {
        self.with_active("autoscaling:CancelInstanceRefresh", name, |refresh, _| {
            refresh.status = "Cancelled";
            Ok(())
        })?;
        let key = self.key(name);
        if let Some(stored) = self.lock().groups.get_mut(&key) {
            stored.launching = None;
        }
        Ok(())
    }

    async fn roll_back_refresh(&self, name: &str) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:RollbackInstanceRefresh";
        self.with_active(OPERATION, name, |refresh, now| {
            if refresh.target.is_none() {
                return Err(refused(
                    OPERATION,
                    name,
                    "IrreversibleInstanceRefresh",
                    "The instance refresh has no desired configuration",
                ));
            }
            if !refresh.rolls_back() {
                refresh.turn_round(now);
            }
            Ok(())
        })
    }
}
