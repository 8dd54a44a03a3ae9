//! The persistent memory unit: media exported on a fabric.
//!
//! A [`Unit`] lets fabric connections reach regions of a [`Volume`](outlive_media::Volume). Each
//! connection has a protection and translation table of its own, filled from the single-use ticket it
//! was admitted with; a region is a list of extents that looks like one range. A manager programs all
//! of this through the admin service ([`Unit::admin`], `proto/outlive/v1/unit.proto`). The unit never
//! looks at what a region's bytes mean.
//!
//! Invariants:
//!
//! - One function ([`table::Table::translate`]) turns (key, offset, length, access) into bounded
//!   physical pieces or a typed refusal; nothing else computes physical addresses for a client.
//! - Admission and fence take the same lock: a write connection is either seen and stopped by a fence or
//!   is refused by the generation that the fence raised.
//! - Once a fence or a withdrawal has returned success, no byte of the connections it names can land.
//!   After one that could not be confirmed nothing is granted for the region until one is.
//! - The data path takes no lock that connections share, except the rendezvous in which concurrent
//!   persists share one flush.
//! - A call of a superseded manager changes nothing: attach waits for calls in progress, then raises the
//!   generation that every later call must name.
//! - What was let in, stopped and refused stands in the audit log; no allowed operation passes it.
//!
//! It fails with [`UnitError`] at start, with a [`ControlError`](outlive_proto::ControlError) per control
//! call and with a [`Refusal`](outlive_fabric::Refusal) per operation. A failed flush poisons the medium:
//! everything is refused until restart.

mod admin;
mod auditing;
#[cfg(feature = "deliberate-bugs")]
pub mod bugs;
mod core;
mod counters;
mod events;
mod exposure;
mod gate;
mod in_process;
mod options;
mod programming;
mod registry;
mod stop;
pub mod table;
mod tickets;
pub mod translation;
mod unit;

pub use admin::{AdminService, EventStream};
pub use counters::Totals;
pub use options::{AttachSecret, UnitOptions};
pub use outlive_fabric::tcp::TlsPolicy;
pub use unit::{Unit, UnitError};
