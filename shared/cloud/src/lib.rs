#![doc = include_str!("../README.md")]

pub mod concurrency;
pub mod connection;
pub mod dynamodb;
pub mod error;
pub mod functions;
pub mod key;
pub mod metrics;
pub mod notification;
pub mod registry;
pub mod step_functions;
pub mod store;
pub mod table;

pub use connection::{Connection, Roots};
pub use error::CloudError;
pub use functions::Functions;
pub use key::Key;
pub use notification::Notifications;
pub use registry::Registry;
pub use step_functions::StepFunctions;
pub use store::Store;

pub use table::{Action, Condition, Index, Item, Table, Write};
