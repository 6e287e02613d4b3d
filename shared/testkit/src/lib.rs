#![doc = include_str!("../README.md")]

pub mod drive;
pub mod faults;
pub mod http;
pub mod local_server;
pub mod memory_table;
pub mod platform;
pub mod sample;
pub mod saving;
pub mod scheduler;
pub mod strike;
pub mod sts;
pub mod world;

pub use drive::{Drive, End, Strike, fault_everywhere};
pub use faults::{Fault, Faults, Moment};
pub use http::{MemoryAws, MemoryHttp, MemoryObjects, MemorySecrets};
pub use local_server::{LocalServer, Received, Reply};
pub use memory_table::MemoryTable;
pub use platform::{
    MemoryFunctions, MemoryNotifications, MemoryRegistry, MemoryStepFunctions, Sent,
};
pub use saving::Saving;
pub use scheduler::MemoryScheduler;
pub use strike::at_every_call;
pub use sts::{MemorySts, NamedCallers};
pub use world::{Behaviour, Effect, Limit, Operation, Process, World};
