//! Attacks on one real server, over the raw protocols. `docs/security.md` says what must come of each, and names the
//! test. Beside most of them another tenant commits and reads, and must not notice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "sizes of these regions fit everywhere"
)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../wire/mod.rs"]
mod wire;

mod bystander;
mod certificates;
mod control;
mod encrypted;
mod floods;
mod frames;
mod handshakes;
mod http2;
mod impostor;
mod names;
mod people;
mod proxy;
mod races;
mod ranges;
mod rights;
mod secrets;
mod space;
mod stranger;
mod tickets;
mod vitals;

use std::sync::atomic::{AtomicBool, Ordering};

use outlive::{Context, Session};
use support::World;

/// Ends what others do until it is set, also where the test fails: they would keep it from saying so.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A session of whoever the world's context file belongs to.
fn session(world: &World) -> Session {
    Session::connect(&Context::load(&world.path("context.json")).unwrap()).unwrap()
}
