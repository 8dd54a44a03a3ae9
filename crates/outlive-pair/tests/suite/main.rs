//! The running member, over a real unit and manager.

mod crash_loop;
mod fenced;
mod restart;
mod roles;
mod sessions;
mod snapshots;
mod support;
mod suspicion;
mod switchover;
mod takeover;
