#![doc = include_str!("../README.md")]

pub mod account;
pub mod alarms;
pub mod auto_scaling;
pub mod classic_load_balancing;
pub mod code_build;
pub mod concurrency;
pub mod connection;
pub mod deployment_monitor;
pub mod dynamodb;
pub mod ec2;
pub mod error;
pub mod functions;
pub mod iam;
pub mod instance_profile;
pub mod instance_refresh;
pub mod key;
mod listed;
pub mod load_balancing;
pub mod look;
pub mod metrics;
pub mod notification;
pub mod quotas;
pub mod registry;
pub mod scheduler;
pub mod session;
pub mod step_functions;
pub mod store;
pub mod table;
pub mod user;

pub use account::Account;
pub use alarms::Alarms;
pub use auto_scaling::AutoScaling;
pub use classic_load_balancing::ClassicLoadBalancing;
pub use code_build::CodeBuild;
pub use connection::{Connection, Lazy, Roots};
pub use deployment_monitor::DeploymentMonitor;
pub use ec2::{Ec2, Ec2Clouds};
pub use error::CloudError;
pub use functions::Functions;
pub use instance_profile::InstanceProfiles;
pub use instance_refresh::InstanceRefreshes;
pub use key::Key;
pub use load_balancing::LoadBalancing;
pub use look::Look;
pub use notification::Notifications;
pub use quotas::Quotas;
pub use registry::Registry;
pub use scheduler::Scheduler;
pub use step_functions::StepFunctions;
pub use store::Store;

pub use user::{Identity, User, UserError};

pub use table::{Action, Condition, Index, Item, Table, Write};
