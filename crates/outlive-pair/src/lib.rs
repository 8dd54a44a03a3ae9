//! Process pairs: a service whose state, replies and clients survive the process that runs it.
//!
//! Implement [`Service`] (apply a request, snapshot the state, restore it) and start a [`Member`]
//! in each of two processes. They find their roles. The primary journals requests into the pair's
//! region, many at a time, and lets a reply out only when everything that it may reflect is
//! committed and the unit has shown that the region is still its own. The backup applies what is
//! journalled while it waits; when the primary dies or falls silent it fences it at the unit, reads
//! the rest, and serves.
//!
//! ```no_run
//! use outlive::{Context, RegionSpec, Session};
//! use outlive_pair::{Member, Moment, PairConfig, Request, RestoreError, Service};
//!
//! /// Remembers the last request.
//! #[derive(Default)]
//! struct Last(Vec<u8>);
//!
//! impl Service for Last {
//!     fn is_read_only(&self, request: &[u8]) -> bool {
//!         request.is_empty()
//!     }
//!     fn apply(&mut self, request: &[u8], _at: Moment) -> Vec<u8> {
//!         std::mem::replace(&mut self.0, request.to_vec())
//!     }
//!     fn query(&self, _request: &[u8], _at: Moment) -> Vec<u8> {
//!         self.0.clone()
//!     }
//!     fn snapshot(&self) -> Vec<u8> {
//!         self.0.clone()
//!     }
//!     fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
//!         self.0 = snapshot.to_vec();
//!         Ok(())
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Session::connect(&Context::discover(None)?)?;
//! let config = PairConfig::new("last", "10.0.0.1:7000", Some(RegionSpec::checkpoint(64 << 20)));
//! let member = Member::start(session, config, Last::default())?;
//! let client = member.open_session().await?;
//! let reply = member.call(Request::numbered(client, 1, "hello")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Not here: consensus (the unit decides who owns the region), client protocols (`outlive-kv` has
//! one), state larger than memory.
//!
//! Invariants, proven by a simulation of whole pairs ([`machine`]):
//! - No reply leaves before the sets that it may reflect are committed.
//! - A member whose access was revoked answers nothing, reads included.
//! - A numbered request is carried out at most once, and its reply given again.
//! - An acknowledged request is part of every later state.
//!
//! It fails per request with [`CallError`], which says whether the request may have been carried
//! out, and as a whole by stopping with a message ([`RoleView::stopped`]): a pair that keeps
//! crashing, a journal that is damaged below what was acknowledged.

pub mod batch;
#[cfg(feature = "deliberate-bugs")]
pub mod bugs;
pub mod config;
pub mod machine;
pub mod member;
pub mod output;
pub mod replica;
pub mod replies;
pub mod request;
pub mod role;
pub mod service;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;

pub use config::{ConfigError, CrashLoop, FlowBounds, PairConfig, ReplyBounds};
pub use member::{Member, StartError};
pub use request::{CallError, ParseSessionIdError, Request, SessionId};
pub use role::{MemberMetrics, Role, RoleView, Takeover};
pub use service::{Moment, RestoreError, Service};
