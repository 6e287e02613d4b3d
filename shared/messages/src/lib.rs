#![doc = include_str!("../README.md")]

pub mod announcement;
pub mod approval;
pub mod plain;
pub mod slack;

pub use announcement::{Announcement, Answer, Ask, Link};
