//! Lets the state of a process outlive the process.
//!
//! A [`Primary`] writes checkpoints of its state into a region of a persistent memory unit with
//! one-sided remote writes; a [`Backup`] reads them with one-sided remote reads, and when the primary
//! fails it takes over: the old primary is fenced at the unit, the unread rest is read, and a
//! [`Certificate`] says what was found and how long each step took.
//!
//! A [`Session`] is how both begin: it finds the manager through a [`Context`], creates, lists and
//! deletes regions, and opens them.
//!
//! ```
//! # mod server { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/support/server.rs")); }
//! # fn main() -> Result<(), outlive::Error> {
//! use outlive::{Context, OpenOptions, RegionSpec, Session};
//!
//! # let server = server::Server::in_memory("64MiB");
//! # let folder = tempfile::tempdir().expect("a folder");
//! # let file = folder.path().join("context.json");
//! # server.context().save(&file)?;
//! # let explicit = Some(file.as_path());
//! // `None` in place of `explicit`: the file that `outlive serve` writes by default.
//! let session = Session::connect(&Context::discover(explicit)?)?;
//! session.create("orders", &RegionSpec::checkpoint(16 << 20))?;
//! let primary = session.primary("orders", &OpenOptions::default())?;
//! primary.save(b"the whole state".to_vec())?.wait()?;
//! let receipt = primary.append(b"what changed")?.wait()?;
//! println!("{receipt}");
//!
//! let mut backup = session.backup("orders")?;
//! let sets = backup.read_all()?;
//! assert_eq!(sets.snapshot.expect("a snapshot").bytes, b"the whole state");
//! assert_eq!(sets.updates[0].bytes, b"what changed");
//! # Ok(())
//! # }
//! ```
//!
//! What it is not: a client of the unit's data path for arbitrary protocols, or a process pair (that
//! is `outlive-pair`). It keeps these invariants:
//!
//! - A [`Commit`] resolves to a [`Receipt`] only when its set and every set before it are at the level asked for.
//! - Whoever was fenced gets [`Error::Fenced`] from then on, for good; nothing outstanding hangs.
//! - After a lost connection nothing is repeated blindly: seals are read back and compared first.
//! - Torn, stale and corrupt sets are never returned as good.
//!
//! It fails with [`Error`], whose variants say what to do about it.

mod access;
mod backup;
#[cfg(feature = "deliberate-bugs")]
pub mod bugs;

mod catalog;
mod certificate;
mod context;
mod control;
mod error;
mod link;
mod primary;
mod raw;
mod receipt;
mod scrub;
mod session;
mod set;
mod spec;
mod status;
pub mod threads;
mod transport;

pub use access::{AccessRight, IdentityView, IssueOptions, IssuedIdentity};
pub use backup::{
    Backup, BackupOptions, Follow, Fresh, LoadOptions, Overrun, Suspicion, TakenOver, TakeoverOptions,
};
pub use catalog::CatalogView;
pub use certificate::{Ahead, Certificate};
pub use context::Context;
pub use error::Error;
pub use primary::{Commit, Confirm, JournalUsage, OpenOptions, Primary};
pub use raw::{RawOptions, RawRegion};
pub use receipt::Receipt;
pub use scrub::{Pace, ScrubFinding, ScrubOptions, ScrubProgress, ScrubReport, ScrubbedSet, Scrubber};
pub use session::{Session, SessionOptions};
pub use set::{Finding, Set, SetInfo, SetKind, Sets};
pub use spec::{Level, RegionKind, RegionSpec};
pub use status::{
    AddressContext, BackgroundScrub, Connected, MemberReport, MemberView, PairView, RegionMetadata,
    RegionView, Role, StatusView, SwitchoverView, TakeoverView, UnitView,
};

pub use transport::{Connecting, ControlStream, Transport};

/// Whether this build can make mistakes on purpose, for the simulation. Programs that are shipped refuse to be built so.
#[doc(hidden)]
pub const CAN_MAKE_MISTAKES: bool = cfg!(feature = "deliberate-bugs");

pub use outlive_fabric::{PersistMethod, RegionId};
pub use outlive_identity::Credentials;

/// What every call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// The README's example, compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeExample;
