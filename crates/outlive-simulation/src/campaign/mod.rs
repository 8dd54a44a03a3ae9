//! Campaigns: many seeds of a simulated world, each in a process of its own; what fails is replayed and shrunk.

mod command;
mod fleet;
mod shrink;
mod subject;
mod worker;

pub use command::main;
pub use shrink::{Shrunk, shrink};
pub use subject::{Broken, Report, Subject};
