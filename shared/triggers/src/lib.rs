#![doc = include_str!("../README.md")]

pub mod arrival;
pub mod artifact;
mod case;
pub mod constraint;
pub mod cron;
pub mod delivery;
pub mod downstream;
pub mod event;
pub mod explain;
pub mod inbound;
pub mod index;
mod json;
pub mod manual;
pub mod matching;
pub mod pipeline;
pub mod resolve;
pub mod signature;
pub mod template;
pub mod trigger;
mod version_range;
pub mod webhook;

pub use case::{
    DEFAULT_ZONE, cron_times, evaluate_artifact_case, evaluate_cron_case, evaluate_trigger_case,
    evaluate_webhook_case, rfc3339,
};
pub use json::Unreadable;
