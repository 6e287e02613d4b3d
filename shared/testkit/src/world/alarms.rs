//! CloudWatch's alarms in the world: each has the states that a test gave it, in the world's time.

use async_trait::async_trait;
use gennaker_cloud::alarms::Copying;
use gennaker_cloud::{Alarms, CloudError};
use gennaker_domain::deployment::alarm_guard::{Alarm, AlarmState};

use super::World;

impl World {
    /// An alarm of this world's region has a state from a time on, UTC milliseconds. It is there from its first state on.
    pub fn set_alarm(&self, name: &str, since: i64, alarm_state: AlarmState) {
        let key = (self.region().to_owned(), name.to_owned());
        let mut state = self.lock();
        let states = state.alarms.entry(key).or_default();
        states.push((since, alarm_state));
        states.sort_by_key(|(since, _)| *since);
    }
}

impl World {
    /// A group's scaling policies go by an alarm, which is there.
    pub fn add_scaling_alarm(&self, group: &str, alarm: &str) {
        self.set_alarm(alarm, 0, AlarmState::Ok);
        let key = self.key(group);
        if let Some(stored) = self.lock().groups.get_mut(&key) {
            stored.alarms.insert(alarm.to_owned());
        }
    }

    /// The alarms that there are, sorted; no call, never a fault.
    #[must_use]
    pub fn alarm_names(&self) -> Vec<String> {
        let state = self.lock();
        state.alarms.keys().map(|(_, name)| name.clone()).collect()
    }
}

#[async_trait]
impl Alarms for World {
    async fn alarms(&self, names: &[String]) -> Result<Vec<Alarm>, CloudError> {
        self.look("cloudwatch:DescribeAlarms", &names.join(", "), |state| {
            let now = state.now;
            let found = |name: &String| {
                let key = (self.region().to_owned(), name.clone());
                let states = state.alarms.get(&key)?;
                let (_, current) = states.iter().rfind(|(since, _)| *since <= now)?;
                Some(Alarm {
                    name: name.clone(),
                    state: *current,
                    reason: "threshold crossed".to_owned(),
                })
            };
            names.iter().filter_map(found).collect()
        })
    }

    async fn copy(&self, names: &[String], copying: &Copying) -> Result<(), CloudError> {
        self.call("cloudwatch:PutMetricAlarm", &names.join(", "), |state| {
            let region = self.region().to_owned();
            for name in names {
                let Some(states) = state.alarms.get(&(region.clone(), name.clone())).cloned()
                else {
                    continue;
                };
                let copy = copying.name(name);
                state.alarms.insert((region.clone(), copy.clone()), states);
                if let Some(stored) = state.groups.get_mut(&self.key(&copying.to)) {
                    stored.alarms.insert(copy);
                }
            }
            Ok(())
        })
    }

    async fn delete(&self, names: &[String]) -> Result<(), CloudError> {
        self.call("cloudwatch:DeleteAlarms", &names.join(", "), |state| {
            let region = self.region();
            state
                .alarms
                .retain(|(of, name), _| of != region || !names.contains(name));
            for stored in state.groups.values_mut() {
                stored.alarms.retain(|name| !names.contains(name));
            }
            Ok(())
        })
    }
}
