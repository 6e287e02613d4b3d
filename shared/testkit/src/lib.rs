#![doc = include_str!("../README.md")]

pub mod faults;
pub mod memory_table;

pub use faults::{Fault, Faults, Moment};
pub use memory_table::MemoryTable;
