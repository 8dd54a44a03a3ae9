//! Media through their public interfaces.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod crash;
mod file_volume;
mod poison;
mod simulated;
