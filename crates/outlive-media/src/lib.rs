//! The persistent memory behind a unit.
//!
//! [`Media`] is the seam to a backend: one range of bytes with a declared persistence domain. [`Medium`]
//! adds what every user of a backend needs: concurrent persists share one flush ([`FlushGroup`]), and a
//! failed flush poisons it for all. [`Volume`] is a medium with a superblock: identity, geometry,
//! incarnation, manager generation. Nothing here knows regions or what their bytes mean; the catalog's
//! region is formatted once and then belongs to the manager.
//!
//! [`simulated`] is persistent memory that loses power where a test wants it to. It is always built, as the simulated
//! fabric is: it needs no dependency, no [`MediaSpec`] names it, and a feature would build everything twice.
//!
//! Invariants:
//!
//! - *placed* on file media survives the unit's process; *persistent* means that a flush that began after
//!   the bytes were placed has succeeded.
//! - After a failed flush nothing is read, written or flushed any more until the medium is opened anew:
//!   the kernel then calls pages clean that never reached the device, so neither a later flush nor a read proves anything.
//! - A medium is open at most once for writing.
//! - At every instant one copy of the superblock is valid; an incarnation is persistent before it is used.
//!
//! It fails with [`MediaError`].

#[cfg(feature = "deliberate-bugs")]
pub mod bugs;
pub mod error;
pub mod file;
pub mod flush;
mod mapping;
pub mod media;
pub mod medium;
pub mod memory;
pub mod simulated;
pub mod spec;
pub mod superblock;
pub mod volume;

pub use error::MediaError;
pub use file::FileMedia;
pub use flush::FlushGroup;
pub use media::{Media, Persistence};
pub use medium::{Medium, Stored};
pub use memory::MemoryMedia;
pub use spec::{MediaSpec, SpecError};
pub use superblock::{Copy, Geometry, Superblock, UnitId};
pub use volume::Volume;
