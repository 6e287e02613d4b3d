#![doc = include_str!("../README.md")]

pub mod caller;
pub mod entry;
pub mod http_event;
pub mod in_line;
pub mod internet;
pub mod invocation;
pub mod metric;
mod outside;
pub mod parents;
pub mod randomness;
pub mod resolve;
pub mod runtime;
pub mod setting;
pub mod stage;
pub mod tell;
pub mod wake;

pub use caller::caller;
pub use entry::{Error, Function, FunctionError, run_function, run_stage};
pub use gennaker_cloud::Connection;
pub use http_event::{HttpAnswer, HttpEvent, HttpEventError};
pub use internet::internet;
pub use invocation::{Invocation, InvocationError};
pub use randomness::{Randomness, randomness};
pub use resolve::Resolver;
pub use runtime::{Call, Refusal, Runtime};
pub use setting::{prefix, setting, table_name};
pub use stage::{Stage, StageError, Step, Undo};
pub use tell::{NotifyFunction, Tell};
pub use wake::{Wake, WakeFunction};
