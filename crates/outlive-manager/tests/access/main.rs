//! Who may do what: every call, for everybody, and what a change does to those who are connected.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod calls;
mod identities;
mod lists;
#[path = "../support/mod.rs"]
mod support;
