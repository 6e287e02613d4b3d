#![doc = include_str!("../README.md")]

pub mod approval;
pub mod artifact;
pub mod canary;
pub mod child;
pub mod deployment;
pub mod duration;
pub mod error_name;
pub mod execution;
pub mod execution_json;
pub mod ids;
pub mod intent;
pub mod occasion;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod problem;
pub mod rollup;
pub mod status;
pub mod window;

pub use execution::{Ending, Execution, Failure, Lease, Pause, StageRecord};
pub use ids::{ExecutionId, IdError, Run};
pub use intent::Intent;
pub use plan::{Owner, Plan, PlanStage, Predecessor};
pub use policy::FailurePolicy;
pub use problem::{Problem, Severity};
pub use status::Status;
