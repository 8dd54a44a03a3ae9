//! The target's side: who is let in, and what their operations reach.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::{Refusal, RemoteKey, SessionInfo, Ticket, TicketId};

/// Numbers the connections of one target, from 1 upwards, never reused in an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Memory as one connection may see it: its address protection and translation table.
///
/// Called from the provider's threads. Every call checks key, range and rights itself, with
/// checked arithmetic: offsets and lengths come from the wire and are hostile.
pub trait Exposure: Send + Sync {
    /// Checks a write of `len` bytes before its payload is taken from the wire.
    ///
    /// # Errors
    /// The refusal to send back.
    fn check_write(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal>;

    /// Checks a persist request when it arrives; [`persist`](Self::persist) may then carry out several at once.
    ///
    /// # Errors
    /// The refusal to send back.
    fn check_persist(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        self.check_write(key, offset, len)
    }

    /// Places `bytes`.
    ///
    /// # Errors
    /// The refusal; then nothing was placed, unless the medium failed.
    fn write(&self, key: RemoteKey, offset: u64, bytes: &[u8]) -> Result<(), Refusal>;

    /// Receives up to `len` bytes from `socket` straight into memory with one system call where the
    /// medium can, and returns how many arrived (0: end of stream). A caller that gets
    /// `Ok(None)` uses [`write`](Self::write) with a buffer of its own instead.
    ///
    /// # Errors
    /// The refusal, or the socket's error inside `Ok(Some(Err))`.
    fn receive(
        &self,
        key: RemoteKey,
        offset: u64,
        len: u64,
        socket: BorrowedFd<'_>,
    ) -> Result<Option<std::io::Result<usize>>, Refusal>;

    /// Reads `into.len()` bytes.
    ///
    /// # Errors
    /// The refusal; `into` then holds nothing of the region.
    fn read(&self, key: RemoteKey, offset: u64, into: &mut [u8]) -> Result<(), Refusal>;

    /// Makes every write to the range that was placed before this call persistent. Blocks for the
    /// medium's flush, which concurrent callers share.
    ///
    /// # Errors
    /// The refusal; a failed flush poisons the medium.
    fn persist(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal>;
}

/// What a target gives a connection that it lets in.
pub struct Admitted {
    /// The connection's own table.
    pub exposure: Arc<dyn Exposure>,
    /// What to tell the initiator.
    pub session: SessionInfo,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The initiator closed it, or its host said that its process is gone.
    Closed,
    /// The target stopped it.
    Stopped(Refusal),
    /// It broke the protocol or fell silent inside a frame.
    Broken(String),
}

/// Decides who is let in. The unit implements it; providers call it.
pub trait Admission: Send + Sync + 'static {
    /// A connection named a ticket: gives it, so that both sides can prove that they know its secret. Uses
    /// nothing up.
    ///
    /// # Errors
    /// The refusal to send before closing: the same for every ticket that is not valid, whatever the reason.
    fn challenge(&self, ticket: TicketId, connection: &dyn Connection) -> Result<Ticket, Refusal>;

    /// A connection was challenged and answered wrongly. A ticket does not survive many of these.
    fn failed(&self, ticket: TicketId, connection: &dyn Connection);

    /// A connection was turned away before, or without, asking here: it broke the protocol, took too long, was not
    /// encrypted, or there was no place for it.
    fn turned_away(&self, refusal: &Refusal, connection: &dyn Connection) {
        let _ = (refusal, connection);
    }

    /// A connection has proven that it knows the secret of the ticket that [`challenge`](Self::challenge) gave: now
    /// the ticket is used up, if it still is that very ticket. `connection` stops it later; keep it, do
    /// not use it inside this call.
    ///
    /// # Errors
    /// The refusal to send before closing.
    fn admit(&self, ticket: &Ticket, connection: Arc<dyn Connection>) -> Result<Admitted, Refusal>;

    /// An admitted connection has ended: none of its bytes can land any more.
    fn closed(&self, connection: ConnectionId, reason: CloseReason);
}

/// A live connection, as its target may stop it.
pub trait Connection: Send + Sync {
    /// Its number.
    fn id(&self) -> ConnectionId;

    /// Where it comes from, for people: an address.
    fn peer(&self) -> String;

    /// Begins to stop the connection: no operation that it sent begins to be carried out after
    /// this returns. The initiator is told `reason` where that is still possible. Idempotent, never blocks.
    fn stop(&self, reason: Refusal);

    /// Waits until the connection is stopped for good: no byte that it sent can land any more.
    /// Returns false after `timeout`: then it is *not* confirmed and nothing may be granted.
    fn await_stopped(&self, timeout: Duration) -> bool;
}
