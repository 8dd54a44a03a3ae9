//! A primary killed at any moment of a save leaves the previous set or the new one, never neither and never a mix.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use support::{Process, World, noise};

const ROUNDS: u64 = 12;
const STATE_BYTES: usize = 12 << 20;

#[test]
fn a_save_that_is_killed_leaves_the_old_state_or_the_new() {
    let world = World::with_media("128MiB");
    let _serve = world.serve();
    world.ok(&[
        "region",
        "create",
        "orders",
        "--size",
        "48MiB",
        "--max-snapshot",
        "16MiB",
    ]);
    let mut held = noise(0, STATE_BYTES);
    world.ok_with_input(&["save", "orders"], &held);
    let file = world.path("state");
    for round in 1..=ROUNDS {
        let new = noise(round, STATE_BYTES + usize::try_from(round).unwrap());
        std::fs::write(&file, &new).unwrap();
        let mut process = Process::start(world.command([
            "save",
            "orders",
            file.to_str().unwrap(),
            // The one before was killed, and may not have been missed yet.
            "--take-over",
            "--level",
            "placed",
        ]));
        // Another moment each time: before it has opened the region, in the middle of its write, after its end.
        std::thread::sleep(Duration::from_millis(17 * round));
        let was_done = process.has_ended();
        process.kill();
        let found = world.ok(&["load", "orders"]);
        assert!(
            found == new || (found == held && !was_done),
            "round {round}: neither the old nor the new"
        );
        held = found;
    }
}
