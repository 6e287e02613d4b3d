//! What this process has seen of the world, kept for a few seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gennaker_cloud::alarms;
use gennaker_cloud::auto_scaling::{self, Group};
use gennaker_cloud::classic_load_balancing::InstanceHealth;
use gennaker_cloud::load_balancing::TargetHealth;
use gennaker_cloud::{Account, CloudError, Look};
use gennaker_domain::deployment::alarm_guard::Alarm;
use gennaker_lambda::Invocation;

use crate::observe;

/// How long a waiting poll may use what another one has seen: half of the shortest poll, so that whatever happens is seen
/// by the next one. No stage sees the same observation in two polls, however close they are ([`Look::since`]).
pub const POLL_MILLIS: i64 = 5_000;
/// How long the state of an alarm is known, also to a call that acts: CloudWatch evaluates none more often than every
/// ten seconds, so what it says is as old as that anyway.
const ALARM_MILLIS: i64 = 10_000;
/// How long it is known which groups a region has, never their state: as long as Spinnaker's own cache is behind.
const MEMBERSHIP_MILLIS: i64 = 30_000;
/// Names that one call takes, of groups and of alarms.
const NAMES_PER_CALL: usize = auto_scaling::NAMES_PER_CALL;
const _: () = assert!(NAMES_PER_CALL <= alarms::NAMES_PER_CALL);
/// Whatever was asked for by name in this time is somebody's poll, and will be asked for again.
const NEIGHBOUR_MILLIS: i64 = 60_000;
/// Neighbours that are remembered; ten calls' worth.
const NEIGHBOURS: usize = 1_000;

/// What was seen, by account and region. One for the life of a function's process.
#[derive(Debug, Default)]
pub struct Observations {
    places: Mutex<BTreeMap<Where, Arc<Mutex<Seen>>>>,
}

/// Account id, role and region.
type Where = (String, Option<String>, String);

impl Observations {
    /// What this call of a stage may see of a place.
    #[must_use]
    pub fn sight(&self, account: &Account, region: &str, invocation: &Invocation<'_>) -> Sight {
        let key = (
            account.account_id.clone(),
            account.role.clone(),
            region.to_owned(),
        );
        Sight {
            seen: Arc::clone(locked(&self.places).entry(key).or_default()),
            look: invocation.look().cloned(),
            now: invocation.now,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that was seen, by which call and when that call began (so it is newer than it says).
#[derive(Debug)]
struct Entry<T> {
    what: T,
    at: i64,
    call: Option<u64>,
}

#[derive(Debug)]
struct Named<T> {
    entries: BTreeMap<String, Entry<Option<T>>>,
    /// When each name was last asked for.
    asked: BTreeMap<String, i64>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }
}

/// What each target group, or classic load balancer, says of all that is registered there.
type Registered<T> = BTreeMap<String, Entry<Vec<T>>>;

#[derive(Debug, Default)]
struct Seen {
    groups: Named<Group>,
    alarms: Named<Alarm>,
    targets: Registered<TargetHealth>,
    balancers: Registered<InstanceHealth>,
    /// The names of all groups of the region.
    membership: Option<Entry<Vec<String>>>,
}

/// What is known of names that were asked for, and what has to be asked.
#[derive(Debug)]
pub(crate) struct Known<T> {
    /// By name; none for what is not there.
    pub(crate) found: BTreeMap<String, Option<T>>,
    /// Not known: names to ask AWS for. A glance that has to ask asks for its neighbours too, as many as one call takes.
    pub(crate) ask: Vec<String>,
}

impl<T> Known<T> {
    /// All that is there, in the order in which it was asked for.
    pub(crate) fn with(mut self, names: &[String], answered: Vec<(String, T)>) -> Vec<T> {
        self.found
            .extend(answered.into_iter().map(|(name, what)| (name, Some(what))));
        names
            .iter()
            .filter_map(|name| self.found.remove(name).flatten())
            .collect()
    }
}

/// A place as one call of a stage may see it.
///
/// A call that acts sees what it has read itself. A glance sees also what others have read in the last
/// [`POLL_MILLIS`]. Undo and stages that wait for nothing have no [`Look`]: they read everything themselves.
#[derive(Clone, Debug)]
pub struct Sight {
    seen: Arc<Mutex<Seen>>,
    look: Option<Look>,
    now: i64,
}

impl Sight {
    pub(crate) fn may_change(&self) -> Result<(), CloudError> {
        self.look.as_ref().map_or(Ok(()), Look::may_change)
    }

    fn is_glance(&self) -> bool {
        self.look.as_ref().is_some_and(Look::is_glance)
    }

    fn call(&self) -> Option<u64> {
        self.look.as_ref().map(Look::call)
    }

    fn entry<T>(&self, what: T) -> Entry<T> {
        Entry {
            what,
            at: self.now,
            call: self.call(),
        }
    }

    fn is_younger<T>(&self, entry: &Entry<T>, millis: i64) -> bool {
        entry.at <= self.now && self.now.saturating_sub(entry.at) < millis
    }

    /// Whether another call has seen it, not long ago and after the stage looked last.
    fn is_news<T>(&self, entry: &Entry<T>, millis: i64) -> bool {
        let looked = self.look.as_ref().map(Look::since);
        looked.is_some_and(|looked| entry.at > looked) && self.is_younger(entry, millis)
    }

    fn is_own<T>(&self, entry: &Entry<T>) -> bool {
        entry.call.is_some() && entry.call == self.call()
    }

    fn disown<T>(&self, entry: &mut Entry<T>) {
        if self.is_own(entry) {
            entry.call = None;
        }
    }

    fn serves<T>(&self, entry: &Entry<T>) -> bool {
        self.is_own(entry) || (self.is_glance() && self.is_news(entry, POLL_MILLIS))
    }

    /// Whether an alarm's state serves: also whoever acts, but nobody who shares nothing.
    fn tells<T>(&self, entry: &Entry<T>) -> bool {
        self.is_own(entry) || self.is_news(entry, ALARM_MILLIS)
    }

    /// `serves` says whether what is known may be answered, `with_neighbours` whether to ask for them too.
    fn known<T: Clone>(
        &self,
        of: &mut Named<T>,
        names: &[String],
        serves: impl Fn(&Entry<Option<T>>) -> bool,
        with_neighbours: bool,
    ) -> Known<T> {
        for name in names {
            of.asked.insert(name.clone(), self.now);
        }
        let (served, mut ask): (Vec<&String>, Vec<&String>) = names
            .iter()
            .partition(|name| of.entries.get(*name).is_some_and(&serves));
        let found = served
            .into_iter()
            .filter_map(|name| Some((name.clone(), of.entries.get(name)?.what.clone())))
            .collect();
        if with_neighbours && !ask.is_empty() {
            let mut neighbours: Vec<(&String, i64)> = of
                .asked
                .iter()
                .filter(|(name, _)| !names.contains(name))
                .filter(|(name, _)| !of.entries.get(*name).is_some_and(&serves))
                .map(|(name, at)| (name, *at))
                .collect();
            // Whoever was asked for longest ago is asked for next.
            neighbours.sort_by_key(|(_, at)| *at);
            let room = NAMES_PER_CALL.saturating_sub(ask.len());
            ask.extend(neighbours.into_iter().take(room).map(|(name, _)| name));
        }
        let ask = ask.into_iter().cloned().collect();
        Known { found, ask }
    }

    fn note<T: Clone>(&self, of: &mut Named<T>, asked: &[String], answered: &[(String, T)]) {
        self.tidy(of);
        let mut answered: BTreeMap<&String, &T> =
            answered.iter().map(|(name, what)| (name, what)).collect();
        for name in asked {
            let what = answered.remove(name).cloned();
            of.entries.insert(name.clone(), self.entry(what));
        }
    }

    /// Forgets what serves nobody any more.
    fn tidy<T>(&self, of: &mut Named<T>) {
        let now = self.now;
        of.entries
            .retain(|_, entry| self.is_younger(entry, ALARM_MILLIS) || self.is_own(entry));
        of.asked
            .retain(|_, at| now.saturating_sub(*at) < NEIGHBOUR_MILLIS);
        while of.asked.len() > NEIGHBOURS {
            let oldest = of.asked.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                break;
            };
            of.asked.remove(&oldest);
        }
    }

    pub(crate) fn groups(&self, names: &[String]) -> Known<Group> {
        let mut seen = locked(&self.seen);
        let serves = |entry: &Entry<_>| self.serves(entry);
        self.known(&mut seen.groups, names, serves, self.is_glance())
    }

    pub(crate) fn note_groups(&self, asked: &[String], answered: &[(String, Group)]) {
        self.note(&mut locked(&self.seen).groups, asked, answered);
    }

    pub(crate) fn alarms(&self, names: &[String]) -> Known<Alarm> {
        let mut seen = locked(&self.seen);
        let serves = |entry: &Entry<_>| self.tells(entry);
        self.known(&mut seen.alarms, names, serves, self.look.is_some())
    }

    pub(crate) fn note_alarms(&self, asked: &[String], answered: &[(String, Alarm)]) {
        self.note(&mut locked(&self.seen).alarms, asked, answered);
    }

    fn served<T: Clone>(&self, of: &Registered<T>, name: &str) -> Option<Vec<T>> {
        let entry = of.get(name)?;
        self.serves(entry).then(|| entry.what.clone())
    }

    fn note_served<T: Clone>(&self, of: &mut Registered<T>, name: &str, what: &[T]) {
        of.retain(|_, entry| self.is_younger(entry, POLL_MILLIS) || self.is_own(entry));
        of.insert(name.to_owned(), self.entry(what.to_vec()));
    }

    pub(crate) fn targets(&self, arn: &str) -> Option<Vec<TargetHealth>> {
        self.served(&locked(&self.seen).targets, arn)
    }

    pub(crate) fn note_targets(&self, arn: &str, targets: &[TargetHealth]) {
        self.note_served(&mut locked(&self.seen).targets, arn, targets);
    }

    /// What a classic load balancer says.
    pub(crate) fn registered(&self, name: &str) -> Option<Vec<InstanceHealth>> {
        self.served(&locked(&self.seen).balancers, name)
    }

    pub(crate) fn note_registered(&self, name: &str, instances: &[InstanceHealth]) {
        self.note_served(&mut locked(&self.seen).balancers, name, instances);
    }

    /// All groups of the region were listed.
    pub(crate) fn note_all(&self, groups: &[Group]) {
        let mut seen = locked(&self.seen);
        self.tidy(&mut seen.groups);
        for group in groups {
            let entry = self.entry(Some(group.clone()));
            seen.groups.entries.insert(group.name.clone(), entry);
        }
        let names = groups.iter().map(|group| group.name.clone());
        seen.membership = Some(self.entry(names.collect()));
    }

    /// The names of a cluster's groups, if this call has listed them, or this process has not long ago, and since this
    /// installation last made one ([`Look::made`]): what the list lacks was made by others meanwhile. The groups
    /// themselves are described anew.
    pub(crate) fn membership(&self, cluster: &str) -> Option<Vec<String>> {
        let made = self.look.as_ref()?.made();
        let seen = locked(&self.seen);
        let all = seen.membership.as_ref()?;
        let recent = all.at > made && self.is_younger(all, MEMBERSHIP_MILLIS);
        let of_cluster = |name: &&String| observe::is_of_cluster(name, cluster);
        (recent || self.is_own(all)).then(|| all.what.iter().filter(of_cluster).cloned().collect())
    }

    /// Forgets what a change touches; what else this call has read before it, it reads again.
    pub(crate) fn forget(&self, changed: &Changed<'_>) {
        let mut seen = locked(&self.seen);
        let Seen {
            groups,
            alarms,
            targets,
            balancers,
            membership,
        } = &mut *seen;
        // Still what others may have seen, no more what this call acts on.
        groups.entries.values_mut().for_each(|e| self.disown(e));
        alarms.entries.values_mut().for_each(|e| self.disown(e));
        targets.values_mut().for_each(|e| self.disown(e));
        balancers.values_mut().for_each(|e| self.disown(e));
        if let Some(name) = changed.group {
            groups.entries.remove(name);
        }
        for arn in changed.targets {
            targets.remove(arn);
        }
        for name in changed.balancers {
            balancers.remove(name);
        }
        if changed.members {
            *membership = None;
        }
    }
}

/// What a change touches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changed<'a> {
    /// The server group.
    pub(crate) group: Option<&'a str>,
    /// ARNs of target groups.
    pub(crate) targets: &'a [String],
    /// Names of classic load balancers.
    pub(crate) balancers: &'a [String],
    /// A group comes or goes.
    pub(crate) members: bool,
}
