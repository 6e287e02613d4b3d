#![doc = include_str!("../README.md")]

pub mod invocation;
pub mod stage;

pub use invocation::{Invocation, InvocationError};
pub use stage::{Stage, StageError, Step, Undo};
