#![doc = include_str!("../README.md")]

mod cloud;
mod error;
mod progress;
mod python;
mod surroundings;
mod world;

pub use cloud::{Endpoints, LocalCloud, Options, StateFile};
pub use error::Error;
pub use progress::{Progress, Silent, Step};
pub use python::{PINS, Python};
pub use world::{Capacity, Cluster, Image, Metric, ServerGroup, World};
