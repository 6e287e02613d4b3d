#![doc = include_str!("../README.md")]

pub mod connection;
pub mod dynamodb;
pub mod error;
pub mod key;
pub mod store;
pub mod table;

pub use connection::{Connection, Roots};
pub use error::CloudError;
pub use key::Key;
pub use store::Store;

pub use table::{Action, Condition, Index, Item, Table, Write};
