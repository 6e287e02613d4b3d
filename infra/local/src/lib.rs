#![doc = include_str!("../README.md")]

mod children;
mod cloud;
mod error;
pub mod functions;
mod operations;
mod processes;
mod progress;
mod python;
mod session;
mod surroundings;
mod world;

pub use children::interrupt;
pub use cloud::{Endpoints, LocalCloud, Options, StateFile};
pub use error::Error;
pub use functions::FunctionArtifact;
pub use operations::{
    Created, ObservedCluster, ObservedServerGroup, PublicAnswer, Resource, SentEvent, Stack,
};
pub use processes::FunctionProcess;
pub use progress::{Progress, Silent, Step};
pub use python::{PINS, Python};
pub use world::{Capacity, Cluster, Image, Metric, ServerGroup, World};
