//! Who may do what: every call, for everybody, and what a change does to those who are connected.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod audited;
mod calls;
mod identities;
mod lists;
mod shares;
#[path = "../support/mod.rs"]
mod support;
