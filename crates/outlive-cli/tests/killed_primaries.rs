//! A primary killed at any moment of a save leaves the previous set or the new one, never neither and never a mix.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::time::Instant;

use support::{Process, World, noise};

const ROUNDS: u32 = 12;
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
    std::fs::write(&file, &held).unwrap();
    let started = Instant::now();
    assert_eq!(save(&world, &file).wait(), 0);
    let whole = started.elapsed();
    for round in 1..=ROUNDS {
        let new = noise(round.into(), STATE_BYTES + usize::try_from(round).unwrap());
        std::fs::write(&file, &new).unwrap();
        let mut process = save(&world, &file);
        // Another moment each time: before it has opened the region, in the middle of its write, about its end.
        std::thread::sleep(whole * round / 10);
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

fn save(world: &World, file: &Path) -> Process {
    Process::start(world.command([
        "save",
        "orders",
        file.to_str().unwrap(),
        // The one before was killed, and may not have been missed yet.
        "--take-over",
        "--level",
        "placed",
    ]))
}
