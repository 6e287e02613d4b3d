//! Accounts and regions, and the ports to each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use gennaker_cloud::alarms::AwsAlarms;
use gennaker_cloud::auto_scaling::AwsAutoScaling;
use gennaker_cloud::classic_load_balancing::AwsClassicLoadBalancing;
use gennaker_cloud::instance_refresh::AwsInstanceRefreshes;
use gennaker_cloud::load_balancing::AwsLoadBalancing;
use gennaker_cloud::{
    Account, Alarms, AutoScaling, ClassicLoadBalancing, Connection, InstanceProfiles,
    InstanceRefreshes, LoadBalancing, Look, Quotas,
};
use gennaker_domain::{Intent, Run};
use gennaker_http::{AwsInstanceProfiles, AwsQuotas};
use gennaker_lambda::{Invocation, StageError};
use serde_json::{Value, json};

use crate::config::undo_text;
use crate::observations::{Observations, Sight};
use crate::seen;

/// One account and region with its ports.
#[derive(Clone)]
pub struct Place {
    /// The account.
    pub account: Account,
    /// The region.
    pub region: String,
    /// Auto Scaling there.
    pub auto_scaling: Arc<dyn AutoScaling>,
    /// Elastic Load Balancing there.
    pub load_balancing: Arc<dyn LoadBalancing>,
    /// Classic load balancers there.
    pub classic_load_balancing: Arc<dyn ClassicLoadBalancing>,
    /// Instance refreshes there.
    pub instance_refreshes: Arc<dyn InstanceRefreshes>,
    /// CloudWatch's alarms there.
    pub alarms: Arc<dyn Alarms>,
    /// What the ports share with other calls; none where nothing is kept.
    pub sight: Option<Sight>,
    /// The account's quotas there.
    pub quotas: Arc<dyn Quotas>,
    /// The account's instance profiles.
    pub instance_profiles: Arc<dyn InstanceProfiles>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.account.name, self.region)
    }
}

/// Makes the ports of an account and region. Makes no call.
#[async_trait]
pub trait Clouds: Send + Sync {
    /// The ports of that account in that region.
    async fn at(&self, account: &Account, region: &str, run: &Run) -> Place;

    /// The same for whoever only reads, one for all executions; none where there is nothing to share.
    async fn reading(&self, _account: &Account, _region: &str) -> Option<Place> {
        None
    }

    /// What this process has seen there; none where nothing is kept, and every call reads for itself.
    fn observations(&self) -> Option<&Observations> {
        None
    }
}

/// AWS. Clones share what was seen, and the sessions that read.
#[derive(Clone, Debug)]
pub struct AwsClouds {
    connection: Connection,
    observations: Arc<Observations>,
    reading: Arc<Mutex<Reading>>,
}

/// The places that are only read from, by role and region.
type Reading = BTreeMap<(Option<String>, String), Place>;

impl AwsClouds {
    /// Over this connection, with the role of each account.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            observations: Arc::default(),
            reading: Arc::default(),
        }
    }
}

/// The ports of a connection.
fn connected(account: &Account, region: &str, connection: &Connection) -> Place {
    Place {
        account: account.clone(),
        region: region.to_owned(),
        auto_scaling: Arc::new(AwsAutoScaling::new(connection)),
        load_balancing: Arc::new(AwsLoadBalancing::new(connection)),
        classic_load_balancing: Arc::new(AwsClassicLoadBalancing::new(connection)),
        instance_refreshes: Arc::new(AwsInstanceRefreshes::new(connection)),
        alarms: Arc::new(AwsAlarms::new(connection)),
        quotas: Arc::new(AwsQuotas::new(connection)),
        instance_profiles: Arc::new(AwsInstanceProfiles::new(connection)),
        sight: None,
    }
}

#[async_trait]
impl Clouds for AwsClouds {
    async fn at(&self, account: &Account, region: &str, run: &Run) -> Place {
        let connection = account.connection(&self.connection, region, run).await;
        connected(account, region, &connection)
    }

    async fn reading(&self, account: &Account, region: &str) -> Option<Place> {
        let key = (account.role.clone(), region.to_owned());
        let kept = || self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept().get(&key) {
            return Some(known.clone());
        }
        let connection = account.reading_connection(&self.connection, region).await;
        let place = connected(account, region, &connection);
        Some(kept().entry(key).or_insert(place).clone())
    }

    fn observations(&self) -> Option<&Observations> {
        Some(&self.observations)
    }
}

impl Place {
    /// What an intent about a group here remembers: where the group is, and what more there is to know.
    #[must_use]
    pub fn undo(&self, group: &str, more: Value) -> Value {
        let mut undo = json!({
            "account": self.account.name,
            "region": self.region,
            "serverGroup": group,
        });
        if let (Some(undo), Value::Object(more)) = (undo.as_object_mut(), more) {
            undo.extend(more);
        }
        undo
    }
}

/// The place that an intent is about, as [`Place::undo`] says.
///
/// # Errors
/// Those of [`place`].
pub async fn place_of(
    clouds: &dyn Clouds,
    invocation: &Invocation<'_>,
    intent: &Intent,
) -> Result<Place, StageError> {
    let [account, region] = ["account", "region"].map(|key| undo_text(intent, key));
    place(clouds, invocation, account, region).await
}

/// The place of an account's name and a region.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] for an account that has no record, or a region that it does not have.
pub async fn place(
    clouds: &dyn Clouds,
    invocation: &Invocation<'_>,
    account: &str,
    region: &str,
) -> Result<Place, StageError> {
    let account = account_named(invocation, account).await?;
    if !account.has_region(region) {
        return Err(StageError::invalid(
            "region",
            format!(
                "account `{}` has no region `{region}`, it has {}",
                account.name,
                account.regions.join(", ")
            ),
        ));
    }
    let acting = clouds.at(&account, region, invocation.run).await;
    let Some(observations) = clouds.observations() else {
        // Nothing stands in front of these ports.
        if invocation.look().is_some_and(Look::is_glance) {
            invocation.may_change()?;
        }
        return Ok(acting);
    };
    let reading = clouds.reading(&account, region).await;
    let sight = observations.sight(&account, region, invocation);
    Ok(seen::place(acting, reading, &sight))
}

/// The record of an account.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] for an account that has none.
pub(crate) async fn account_named(
    invocation: &Invocation<'_>,
    name: &str,
) -> Result<Account, StageError> {
    if name.is_empty() {
        return Err(StageError::invalid(
            "credentials",
            "the stage names no account",
        ));
    }
    let store = invocation.store();
    if let Some(account) = Account::find(store, name).await? {
        return Ok(account);
    }
    let known: Vec<String> = Account::all(store)
        .await?
        .into_iter()
        .map(|account| account.name)
        .collect();
    let known = if known.is_empty() {
        "none is".to_owned()
    } else {
        format!("known are {}", known.join(", "))
    };
    Err(StageError::invalid(
        "credentials",
        format!("account `{name}` is not known here, {known}; `gennaker account save` adds one"),
    ))
}
