//! What happens to server groups, decided: pure functions over an observed cluster.
//!
//! Each answers with a value and its reason as data, whose `Display` is the sentence a person reads; nothing here reads
//! the cloud, the clock or the environment. The answers are Spinnaker's, but where an item says that it does better.
//!
//! | question | module |
//! |---|---|
//! | What is a group called, what is the next name? | [`naming`] |
//! | How many instances, after which resize or pin? | [`capacity`] |
//! | Whose capacity does a new group copy? | [`source`] |
//! | Are enough instances healthy? | [`health`] |
//! | Which group is meant by `current_asg_dynamic`? | [`target`] |
//! | Which groups of a cluster are disabled, destroyed, scaled down? | [`cluster_operation`] |
//! | Which instances does a partial disable take? | [`disable`] |
//! | May this capacity go away? | [`traffic_guard`] |
//! | Which image does a cluster run? | [`find_image`] |
//! | Which image is the newest with these tags? | [`find_image_from_tags`] |
//! | Which build made an image? | [`app_version`] |
//! | What are the sub-stages of a deployment? | [`strategy`] |
//! | What does a sub-stage know of its deployment? | [`facts`] |
//! | Which execution may change a cluster, and how long? | [`cluster_lock`] |
//! | Do alarms stop a deployment? | [`alarm_guard`] |
//! | Could a deployment go back? | [`rollback_readiness`] |
//! | What is the way back, and its stages? | [`rollback`] |
//! | Which clusters are there before a pipeline runs? | [`world`] |
//!
//! [`evaluate_case`] answers recorded cases of all of these in Spinnaker's JSON.

pub mod alarm_guard;
pub mod app_version;
pub mod capacity;
mod case;
pub mod cluster_lock;
pub mod cluster_operation;
mod context;
pub mod disable;
pub mod facts;
pub mod find_image;
pub mod find_image_from_tags;
pub mod health;
pub mod naming;
pub mod rollback;
pub mod rollback_readiness;
mod server_group;
pub mod source;
pub mod strategy;
pub mod target;
pub mod traffic_guard;
pub mod world;

pub use capacity::{Capacity, CapacityError};
pub use case::evaluate_case;
pub use context::ContextError;
pub use health::Health;
pub use server_group::{
    Cluster, HealthState, Instance, ProviderHealth, ServerGroup, ServerGroupError, newest,
};
