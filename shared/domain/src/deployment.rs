//! What happens to server groups, decided: pure functions over an observed cluster.
//!
//! Each answers with a value and its reason as data; nothing here reads the cloud, the clock or the
//! environment. The answers are Spinnaker's, but where a module says that it does better.

pub mod capacity;
mod case;
pub mod cluster_operation;
mod context;
pub mod find_image;
pub mod health;
pub mod naming;
pub mod rollback;
mod server_group;
pub mod source;
pub mod strategy;
pub mod target;
pub mod traffic_guard;

pub use capacity::{Capacity, CapacityError};
pub use case::{DECISIONS, evaluate_case};
pub use context::ContextError;
pub use health::Health;
pub use server_group::{
    Cluster, HealthState, Instance, ProviderHealth, ServerGroup, ServerGroupError, newest,
};
