//! Real processes of Outlive under faults: unit, manager, the members of a pair and clients, each on a host of its own, and what
//! clients saw of it.
//!
//! It is the driver of `cargo xtask chaos`, and the network [lab] of other tests. It knows nothing of how Outlive works: it starts
//! the `outlive` program, does to its processes, hosts and disk what a [plan()] says, and judges by what clients asked and
//! were told ([`History`], [`Adds`]), as anybody outside could.
//!
//! The plan is a function of a seed. When which byte arrives is not: a failing seed is a good guess at what to run again, not a replay.

#![cfg(target_os = "linux")]

mod clients;
mod disk;
mod error;
mod fault;
mod history;
pub mod lab;
mod ledger;
mod linearizable;
mod process;
mod random;
mod report;
mod run;
mod sets;
mod system;
mod wire;

pub use clients::{Lie, Outcomes, Workload};
pub use error::ChaosError;
pub use fault::{Kind, Planned, Targets, plan};
pub use history::{Entry, History, Operation, Reply};
pub use linearizable::{Linearizable, check};
pub use report::{Report, Verdict};
pub use run::{Options, on_interrupt, run};
pub use sets::{Adds, SetsVerdict};
