//! The control plane's messages and services, and their errors.
//!
//! The definitions stand in `proto/`; [`v1`] is generated from them at build time. [`error`] carries
//! a typed reason through a gRPC status.

pub mod error;
mod secrets;

/// Generated from `proto/outlive/v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used
)]
pub mod v1 {
    tonic::include_proto!("outlive.v1");
}

pub use error::{ControlError, FromStatus};
