//! One-sided access to remote memory.
//!
//! A *target* exposes memory through a protection and translation table that belongs to one
//! connection ([`Exposure`]); an *initiator* reaches it through an [`Endpoint`]: it posts writes,
//! reads and persists, and polls for their completions. Nothing here knows what the bytes mean.
//!
//! Invariants, kept by every provider and proven by the conformance suite:
//!
//! - An operation touches exactly the bytes it names, or none and is refused with a reason.
//! - A refusal ends that operation only; the connection and everybody else's go on.
//! - Completions arrive in the order in which operations were posted.
//! - Once a [`Connection`] is confirmed stopped, not one byte that it sent can land.
//! - Nobody is let in without proving that it knows a ticket's secret, and no initiator proves that to a
//!   target that has not proven it first ([`proof`]). The secret itself never travels.
//! - No order of placement between two operations is promised (iWARP promises none).
//!
//! It fails with [`FabricError`] (the connection is lost; the outcome of what was in flight is
//! unknown) or per operation with a [`Refusal`].

pub mod access;
pub mod conformance;
pub mod endpoint;
pub mod proof;
pub mod refusal;
pub mod sim;
pub mod target;
pub mod tcp;
pub mod testing;
pub mod ticket;

pub use access::{
    AccessInfo, ExposedPart, PersistMethod, RegionId, RemoteKey, Rights, SessionInfo, TicketId,
};
pub use endpoint::{Completion, Endpoint, FabricError, OpId, Outcome};
pub use refusal::Refusal;
pub use target::{Admission, Admitted, CloseReason, Connection, ConnectionId, Exposure};
pub use ticket::{Terms, Ticket, TicketSecret};
