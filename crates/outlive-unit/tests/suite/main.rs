//! The unit through its public interfaces: the admin service and real TCP connections.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod admin;
mod controlled;
mod fence;
mod poison;
mod protection;
mod restart;
mod revoke;
mod rig;
mod tickets;
mod translation;
