//! Why a target refused an operation or a connection.

use thiserror::Error;

/// A typed refusal, carried over the wire to whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The key is not in this connection's table.
    #[error("key {key:#x} is not in this connection's table")]
    UnknownKey {
        /// The key that was named.
        key: u64,
    },
    /// The range does not lie inside what the key exposes.
    #[error("range at offset {offset}, {len} bytes, lies outside the {limit} bytes that the key exposes")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Bytes the key exposes.
        limit: u64,
    },
    /// The key's rights do not allow this kind of access.
    #[error("the access granted to this connection is read-only")]
    ReadOnly,
    /// The region moved on to a newer generation; this connection may not touch it any more.
    #[error("fenced: the region is now at generation {generation}")]
    Fenced {
        /// The region's minimum generation.
        generation: u64,
    },
    /// The region was withdrawn from the unit: deleted, or its manager took it away.
    #[error("the region was withdrawn from the unit")]
    Withdrawn,
    /// Whoever connected may not do so any more. Its manager says what is missing.
    #[error("the right to use the region in this way was revoked")]
    Revoked,
    /// The ticket is unknown, used up, or expired, or its secret was not proven. Deliberately one reason for all.
    #[error("the ticket is not valid (unknown, already used, expired, or not proven to be yours)")]
    Ticket,
    /// The medium cannot promise persistence.
    #[error("this unit's medium cannot promise persistence")]
    NotPersistent,
    /// The medium failed. After a failed flush it refuses everything until restart and verification.
    #[error("the unit's medium failed: {0}")]
    Media(String),
    /// The device cannot read some of the bytes asked for; others may be read.
    #[error("the unit's device cannot read that: {0}")]
    Unreadable(String),
    /// A bound of the target was reached: connections, or bytes asked for in one operation.
    #[error("the unit's limit on {what} ({limit}) was reached")]
    Limit {
        /// What is bounded.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// The unit takes encrypted data connections only; this one was not.
    #[error("the unit takes encrypted data connections only (--data-tls require)")]
    Unencrypted,
    /// The unit is shutting down; connect again when it is back.
    #[error("the unit is shutting down")]
    ShuttingDown,
    /// The other side broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
}
