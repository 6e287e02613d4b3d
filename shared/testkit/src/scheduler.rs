//! EventBridge Scheduler in memory: what was made is there, until it is removed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use gennaker_cloud::CloudError;
use gennaker_cloud::scheduler::{Listed, Page, Schedule, Scheduler};

use crate::Faults;

/// Schedules on a page of the list.
const PAGE: usize = 100;

/// The schedules of one group. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct MemoryScheduler {
    schedules: Arc<Mutex<BTreeMap<String, (Schedule, i64)>>>,
    faults: Faults,
}

impl MemoryScheduler {
    /// Empty, never failing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty; its calls count, and fail, with `faults`.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self {
            schedules: Arc::default(),
            faults,
        }
    }

    /// The same schedules through calls that never fail and are not counted.
    #[must_use]
    pub fn without_faults(&self) -> Self {
        Self {
            schedules: Arc::clone(&self.schedules),
            faults: Faults::none(),
        }
    }

    /// All schedules by name.
    #[must_use]
    pub fn schedules(&self) -> Vec<Schedule> {
        self.lock().values().map(|(one, _)| one.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Schedule, i64)>> {
        self.schedules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(operation: &str, name: &str, message: &str) -> CloudError {
    CloudError::Refused {
        operation: operation.to_owned(),
        resource: name.to_owned(),
        code: "ValidationException".to_owned(),
        message: message.to_owned(),
        request_id: "memory".to_owned(),
    }
}

#[async_trait]
impl Scheduler for MemoryScheduler {
    async fn put(&self, schedule: &Schedule, now: i64) -> Result<(), CloudError> {
        const OPERATION: &str = "scheduler:CreateSchedule";
        let call = self.faults.before(OPERATION, &schedule.name)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=64).contains(&schedule.name.len()) || !schedule.name.chars().all(allowed) {
            return Err(refused(OPERATION, &schedule.name, "not a name"));
        }
        if !schedule.expression.ends_with(')') {
            return Err(refused(OPERATION, &schedule.name, "not an expression"));
        }
        let mut schedules = self.lock();
        let made_at = schedules.get(&schedule.name).map_or(now, |(_, at)| *at);
        schedules.insert(schedule.name.clone(), (schedule.clone(), made_at));
        drop(schedules);
        self.faults.after(call, OPERATION, &schedule.name)
    }

    async fn stands(&self, schedule: &Schedule, _now: i64) -> Result<bool, CloudError> {
        const OPERATION: &str = "scheduler:GetSchedule";
        let call = self.faults.before(OPERATION, &schedule.name)?;
        let found = self.lock().get(&schedule.name).map(|(one, _)| one.clone());
        self.faults.after(call, OPERATION, &schedule.name)?;
        Ok(found.as_ref() == Some(schedule))
    }

    async fn delete(&self, name: &str, _now: i64) -> Result<(), CloudError> {
        const OPERATION: &str = "scheduler:DeleteSchedule";
        let call = self.faults.before(OPERATION, name)?;
        self.lock().remove(name);
        self.faults.after(call, OPERATION, name)
    }

    async fn list(&self, from: Option<&str>, _now: i64) -> Result<Page, CloudError> {
        const OPERATION: &str = "scheduler:ListSchedules";
        let call = self.faults.before(OPERATION, from.unwrap_or_default())?;
        let schedules: Vec<Listed> = self
            .lock()
            .iter()
            .filter(|(name, _)| from.is_none_or(|from| name.as_str() > from))
            .take(PAGE)
            .map(|(name, (_, made_at))| Listed {
                name: name.clone(),
                made_at: *made_at,
            })
            .collect();
        self.faults
            .after(call, OPERATION, from.unwrap_or_default())?;
        let next = (schedules.len() == PAGE)
            .then(|| schedules.last().map(|last| last.name.clone()))
            .flatten();
        Ok(Page { schedules, next })
    }
}
