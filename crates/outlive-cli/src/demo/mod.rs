//! Kills primaries in the middle of their work and shows that nothing is lost.

mod client;
mod gate;
mod ledger;
mod member;
mod random;
mod report;
mod stage;

pub(crate) use self::stage::{DemoOptions, perform};
