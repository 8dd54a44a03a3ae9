//! Every bound of a primary, with its reason.

use std::time::Duration;

/// Bytes of sets that are not committed yet and therefore kept, so that they can be written again. Half of the
/// fabric's window, so that posting rarely has to wait; one set may be larger and then goes alone.
pub(crate) const KEPT_BYTES: usize = 16 << 20;
/// Sets that are kept; each is at most two operations of the fabric's window of 4096.
pub(crate) const KEPT_SETS: usize = 1536;
/// Persists in flight: while the unit flushes for one, the next waits at the unit already. More would each
/// cover fewer sets.
pub(crate) const PERSISTS_IN_FLIGHT: usize = 2;
/// Chunks of a snapshot in flight: they hide the round trip, and an append waits behind no more.
pub(crate) const SNAPSHOT_CHUNKS_IN_FLIGHT: usize = 4;
/// Ownership confirmations in flight; a further one waits.
pub(crate) const CONFIRMS_IN_FLIGHT: u64 = 512;
/// Appends after which what was coalesced is sent even though nobody waits for it.
pub(crate) const APPENDS_COALESCED: usize = 64;
/// Bytes after which it is.
pub(crate) const BYTES_COALESCED: usize = 256 << 10;
/// How long whoever leads spins for a completion before it blocks: about what a wake-up costs.
pub(crate) const SPIN: Duration = Duration::from_micros(60);
/// Longest block on the connection, so that a provider that buffers is polled again.
pub(crate) const BLOCK: Duration = Duration::from_millis(50);
/// How often the driver looks when heartbeats are off.
pub(crate) const IDLE_TICK: Duration = Duration::from_millis(100);
/// One attempt of a reconnect, so that closing is noticed in between.
pub(crate) const RECONNECT_SLICE: Duration = Duration::from_millis(500);
/// Pause between such attempts that failed at once.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// How long a dropped primary tries to give the region up: a drop must not hang, and an owner whose
/// connection is gone can be succeeded anyway.
pub(crate) const DROP_TIMEOUT: Duration = Duration::from_millis(500);
/// Changes of the unit's incarnation that receipts can still tell apart: far more than commits can span.
pub(crate) const INCARNATIONS_KEPT: usize = 16;
/// Confirmations read this much of the region: the heartbeat word.
pub(crate) const CONFIRM_BYTES: u32 = 8;
/// Between two looks at a connection that has no descriptor to wait for, at first; longer the longer it has been quiet.
pub(crate) const POLL_PAUSE: Duration = Duration::from_micros(20);
/// The longest such pause: what it may add to an answer that took eight times as long.
pub(crate) const POLL_PAUSE_LONGEST: Duration = Duration::from_millis(1);
