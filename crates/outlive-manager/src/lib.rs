//! The persistent memory manager: catalog, allocation, grants, fencing.
//!
//! A [`Manager`] reaches its unit only through the unit's admin service and, for the catalog, through the
//! fabric like any other primary. It serves `outlive.v1.Manager`. It never sees a region's payload.
//!
//! Invariants:
//! - A change is durable in the catalog before it takes effect, and never reported done while its outcome is
//!   unknown: then the manager attaches anew, recovers and compares.
//! - Free space is what the catalog does not name: nothing leaks, and nothing is granted twice.
//! - A generation is durable, then everything below it is fenced and confirmed, then access is granted.
//! - Who may do what is decided in one place, for every call, from the catalog as it is now.
//! - Every table is bounded by a constant in [`limits`].
//!
//! It fails per call with a [`ControlError`](outlive_proto::ControlError); while its unit is away calls
//! answer `UNIT_UNREACHABLE` and the manager keeps trying; once another manager has attached every call
//! answers `SUPERSEDED`, for good.
//!
//! ```no_run
//! # async fn example(
//! #     unit: outlive_proto::v1::unit_admin_client::UnitAdminClient<tonic::transport::Channel>,
//! #     tls: outlive_identity::ServerTls,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use outlive_identity::{ListenOptions, listen};
//! use outlive_manager::{Manager, ManagerOptions};
//!
//! let manager = Manager::attach(ManagerOptions::new(unit, b"shared secret".to_vec())).await?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:7780").await?;
//! let incoming = listen(listener, tls, ListenOptions::default(), |_| {})?;
//! let server = tonic::transport::Server::builder().add_routes(manager.routes());
//! server.serve_with_incoming(incoming).await?;
//! # Ok(())
//! # }
//! ```

mod access;
mod account;
mod auth;
#[cfg(feature = "deliberate-bugs")]
pub mod bugs;
mod call;
mod catalog;
mod error;
mod grant;
mod identities;
mod keeper;
mod label;
pub mod limits;
mod lists;
mod live;
mod manager;
mod options;
mod pairs;
mod programming;
mod rate;
mod regions;
mod remote;
mod service;
mod shared;
mod shares;
mod unit;
mod view;
mod watching;

pub use error::AttachError;
pub use manager::Manager;
pub use options::{CatalogConnector, ManagerOptions, tcp_connector};
pub use remote::{try_unit, unit_at};
