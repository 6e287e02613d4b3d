//! CloudWatch's alarms in the world: each has the states that a test gave it, in the world's time.

use async_trait::async_trait;
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
}
