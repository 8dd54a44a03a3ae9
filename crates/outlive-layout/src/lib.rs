//! What the bytes of an Outlive region mean.
//!
//! The one description of the media format (`docs/media-format.md` is its chapter), used by writer,
//! reader, simulator, fuzzer and offline check alike. It is pure: no I/O, no clock, no threads. A
//! [`Writer`] turns appends, snapshots and marks into plans (bytes and where they go) that its driver
//! posts and commits; a [`Reader`] reads through a [`Source`] and says what is whole, and of what is
//! not, why.
//!
//! Invariants:
//! - Nothing that does not verify is ever returned as good: every set is sealed with its length,
//!   sequence, generation and checksums seeded with the place it belongs to.
//! - No rule rests on the order in which writes are placed; only a commit that was awaited orders.
//! - Bytes read are hostile: no length is trusted before it was checked against a bound that the
//!   caller knows, and nothing panics.
//! - Journal space is reused only behind a snapshot that was read back and verified.
//!
//! It fails with typed errors ([`ReadError`], [`WriteError`], [`ResizeError`], [`GeometryError`],
//! [`catalog::CatalogError`]) and describes damage as [`Finding`]s naming set and place.

#[cfg(feature = "deliberate-bugs")]
pub mod bugs;
pub mod catalog;
pub mod checksum;
pub mod codec;
pub mod control;
pub mod finding;
pub mod geometry;
pub mod head;
pub mod heartbeat;
mod journal;
pub mod metadata;
pub mod raw;
pub mod reader;
pub mod recovery;
pub mod region;
pub mod resize;
pub mod seal;
pub mod set;
pub mod snapshot;
pub mod source;
pub mod writer;

pub use finding::{Finding, HeaderFault, PayloadFault};
pub use geometry::{Geometry, GeometryError};
pub use heartbeat::FloorRecord;
pub use metadata::MetadataPage;
pub use reader::{Cursor, Fresh, Log, ReadOptions, Reader, Reading, Scrubbed, View};
pub use recovery::{Recovery, RecoveryOptions, ResumePoint, Settling, SlotCheck, SlotState, Start};
pub use region::{RegionId, RegionKind};
pub use resize::{CopyRange, ResizeError, ResizePlan};
pub use seal::Seal;
pub use set::{Set, SetHeader, SetKind};
pub use snapshot::{SealedSnapshot, SnapshotPlan};
pub use source::{ReadError, Source};
pub use writer::{HeaderWrite, JournalUsage, SetPlan, WriteError, Writer};

/// Bytes to be written at an offset of the region's data.
pub type RegionWrite = (u64, Vec<u8>);

// Lengths that were checked against a region's are used as indexes.
const _: () = assert!(usize::BITS >= 64);
