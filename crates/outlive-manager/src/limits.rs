//! Every bound of the manager, with its reason.

use std::time::Duration;

/// Regions of one unit: each costs about 200 bytes here and in the catalog's snapshot.
pub const REGIONS: usize = 200_000;

/// Bytes of one request: a signing request of 16 KiB with room, or all that a region's lists hold. What a caller can make
/// the manager hold is this for each of its calls in progress.
pub const REQUEST_BYTES: usize = 64 << 10;

/// Bytes of a region's name: what the catalog's format holds.
pub const NAME_BYTES: usize = outlive_layout::catalog::MAX_NAME_BYTES;

/// Bytes of an owner's advertised address or label: what the catalog's format holds.
pub const OWNER_BYTES: usize = outlive_layout::catalog::MAX_OWNER_BYTES;

/// Regions in a status answer, which people read.
pub const STATUS_REGIONS: usize = 1_000;

/// How long a ticket may wait for its connection: a slow client's connection set-up, with room.
pub const TICKET_VALID: Duration = Duration::from_secs(5);

/// How long a call waits for others that work on the same region: longer than a fence that is not confirmed, short
/// enough that a stuck region's callers do not use up [`CALLS_IN_PROGRESS`].
pub const REGION_WAIT: Duration = Duration::from_secs(10);

/// How long an owner may be expected while access is granted to it: the calls to the unit that this takes.
pub const GRANT: Duration = UNIT_CALL.saturating_mul(5);

/// Opens, reconnects and takeovers per second, all clients together: each may cost a flush of the catalog
/// and a fence. (Tickets that are outstanding are bounded by the unit.)
pub const OPENS_PER_SECOND: u32 = 1_000;

/// Opens that may come at once after a quiet time: a crowd that reconnects to a restarted unit.
pub const OPEN_BURST: u32 = 2_000;

/// The part of what all share that one identity may take: one that misbehaves leaves most of it, and the services of a
/// small site may still all run as one.
const PART_OF_ONE: u32 = 4;

/// Opens, reconnects and takeovers per second of one identity, so that no one uses them up. It also bounds
/// the tickets that one identity has outstanding: [`IDENTITY_OPEN_BURST`] and [`TICKET_VALID`] times this many, less
/// than half of what a unit holds.
pub const IDENTITY_OPENS_PER_SECOND: u32 = OPENS_PER_SECOND / PART_OF_ONE;

/// Opens of one identity that may come at once after a quiet time.
pub const IDENTITY_OPEN_BURST: u32 = OPEN_BURST / PART_OF_ONE;

/// Identities, and sources, whose rates are told apart, each at about 150 bytes; the one that was quiet longest makes room.
pub const RATES: usize = 4_096;

/// Refused calls per second of one source (an identity at one address) that are told why; the others are told to wait.
pub const REFUSALS_PER_SECOND: u32 = 10;

/// Refused calls of one source that are told why at once: somebody who tries things out.
pub const REFUSAL_BURST: u32 = 100;

/// Failed calls per second of one source that get lines of their own in the audit log; the next line counts the others.
pub const FAILURES_PER_SECOND: u32 = 10;

/// Failed calls of one source that get lines of their own at once.
pub const FAILURE_BURST: u32 = 1_000;

/// After an attachment, how long an owner that was recorded as alive may take to reconnect before it counts
/// as gone: clients notice the lost connection at once and try again within 500 ms.
pub const RECONNECT_GRACE: Duration = Duration::from_secs(2);

/// Streams that watch regions, all together: each holds a task and a connection's stream.
pub const WATCHERS: usize = 4_096;

/// Streams that one identity watches regions with: no one uses them up.
pub const WATCHERS_PER_IDENTITY: usize = WATCHERS / PART_OF_ONE as usize;

/// Events that a slow watcher may lag behind before it is given the present state instead of each step.
pub const WATCH_LAG: usize = 16;

/// Calls in progress at once; more are refused at once rather than queued without end.
pub const CALLS_IN_PROGRESS: usize = 1_024;

/// Calls of one identity in progress at once: no one uses them up.
pub const CALLS_PER_IDENTITY: usize = CALLS_IN_PROGRESS / PART_OF_ONE as usize;

/// Calls in progress, and streams, that are kept for administrators: who can end what the others do gets in.
pub const KEPT_FOR_ADMINISTRATORS: usize = 64;

/// Calls that wait for something to be asked of a pair's member, all together: each holds a connection's stream.
pub const LONG_POLLS: usize = 16_384;

/// Calls of one identity that wait so: no one uses them up.
pub const LONG_POLLS_PER_IDENTITY: usize = LONG_POLLS / PART_OF_ONE as usize;

/// Catalog changes that wait for the writer: each belongs to a call in progress.
pub const CATALOG_QUEUE: usize = CALLS_IN_PROGRESS;

/// How long one call to the unit may take. Above the unit's own wait for connections to confirm their stop.
pub const UNIT_CALL: Duration = Duration::from_secs(15);

/// How long zeroing and initialising a region's extents may take, per GiB begun: a slow disk writes 100 MB/s.
pub const PREPARE_PER_GIB: Duration = Duration::from_secs(20);

/// How long one catalog operation may go without any progress before its outcome counts as unknown.
pub const CATALOG_OP: Duration = Duration::from_secs(10);

/// How long a call waits for a unit that is away before it answers `UNIT_UNREACHABLE`.
pub const UNIT_AWAY: Duration = Duration::from_secs(5);

/// First pause between attempts to attach again; doubled up to [`ATTACH_PAUSE_MAX`].
pub const ATTACH_PAUSE_MIN: Duration = Duration::from_millis(20);

/// Longest pause between attempts to attach again: a restarted unit is found within this time.
pub const ATTACH_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Pairs that may report: they are kept in memory only.
pub const PAIRS: usize = 10_000;

/// Members of one pair that are kept: primary, backup, and those that went before.
pub const MEMBERS_PER_PAIR: usize = 8;

/// A member silent for this long is dropped from its pair.
pub const MEMBER_SILENT: Duration = Duration::from_secs(60);

/// Longest wait of a member's long poll: well below what proxies and clients call a dead connection.
pub const MEMBER_WAIT: Duration = Duration::from_secs(10);

/// Longest time a switchover may be waited for.
pub const SWITCHOVER: Duration = Duration::from_secs(300);
