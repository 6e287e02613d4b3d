#![doc = include_str!("../README.md")]

pub mod alarms;
pub mod clouds;
pub mod cluster_lock;
pub mod config;
pub mod destruction;
pub mod guard;
pub mod guarded;
pub mod image_owners;
pub mod image_sharing;
pub mod launch_template;
mod made;
pub mod observations;
pub mod observe;
pub mod predecessor;
mod seen;
pub mod sizing;
pub mod targets;
pub mod traffic;
pub mod traffic_sources;

pub use clouds::{AwsClouds, Clouds, Place};
pub use guarded::Guarded;
pub use observations::Observations;
pub use traffic_sources::TrafficSources;
