#![doc = include_str!("../README.md")]

pub mod cloudwatch;
mod error;
mod mix;
mod scope;
pub mod source;
pub mod template;

pub use error::MetricsError;
pub use mix::{MAX_POINTS, MAX_POINTS_OF_A_SIDE, MAX_SERIES, Pair, mix};
pub use scope::{Scope, Series};
pub use source::{Account, Credentials, Method, Request, Source};
