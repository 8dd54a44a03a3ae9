//! The unit through its public interfaces: the admin service and real TCP connections.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod admin;
mod audited;
mod controlled;
mod encrypted;
mod fence;
mod network;
mod poison;
mod protection;
mod restart;
mod revoke;
mod rig;
mod shares;
mod tickets;
mod translation;
