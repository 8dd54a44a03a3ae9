//! Takeover from a live primary: it is fenced at the unit, and not one byte of its hand lands any more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Process, Serve, World, noise};

#[test]
fn a_takeover_certifies_what_it_found() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(&["save", "orders"], b"whole");
    world.ok_with_input(&["append", "orders", "--lines"], b"one\ntwo\n");
    let before = world.json(&["region", "show", "orders"])[0]["generation"]
        .as_u64()
        .unwrap();
    let certificate = &world.json(&["takeover", "orders"])[0];
    assert_eq!(certificate["fenced_generation"], before);
    assert_eq!(certificate["generation"], before + 1);
    assert_eq!(certificate["unread_sets"], 3);
    assert_eq!(certificate["unread_bytes"], 11);
    for field in [
        "last_sequence",
        "torn_sets",
        "detect_us",
        "fence_us",
        "read_us",
        "resume_us",
        "total_us",
    ] {
        assert!(certificate[field].is_u64(), "{field}: {certificate}");
    }
    // It is given up again.
    world.ok_with_input(&["append", "orders"], b"three");
    assert_eq!(world.ok(&["load", "orders", "--all"]), b"wholeonetwothree");
}

#[test]
fn a_takeover_stops_at_corruption_unless_the_loss_is_accepted() {
    let world = World::new();
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(
        &["append", "orders", "--lines"],
        b"first update\nsecond update\nthird update\n",
    );
    let before = serve.stop();
    support::flip(&world.medium(), support::find(&world.medium(), b"second update"));
    let _serve = world.serve_again(&before);
    world.fails(&["takeover", "orders"], 11, "orders");
    world.fails_with_input(&["append", "orders"], b"fourth", 11, "orders");
    let certificate = &world.json(&["takeover", "orders", "--accept-loss"])[0];
    let lost = &certificate["accepted_loss"];
    assert!(
        lost["from"].as_u64().unwrap() <= lost["to"].as_u64().unwrap(),
        "{certificate}"
    );
    world.ok_with_input(&["append", "orders"], b"fourth");
    assert_eq!(
        world.ok(&["load", "orders", "--all", "--lines"]),
        b"first update\nfourth\n"
    );
}

#[test]
fn a_primary_that_slept_through_the_takeover_changes_nothing() {
    let world = World::with_media("256MiB");
    let serve = world.serve();
    world.ok(&[
        "region",
        "create",
        "orders",
        "--size",
        "128MiB",
        "--max-snapshot",
        "48MiB",
    ]);
    let old_state = noise(1, 40 << 20);
    world.ok_with_input(&["save", "orders"], &old_state);
    // The old primary saves again and again, so it is in the middle of a large write whenever it is stopped.
    let state = world.path("state");
    std::fs::write(&state, noise(2, 40 << 20)).unwrap();
    let mut stopped_in_a_write = false;
    for _ in 0..20 {
        let before = serve.bytes_written();
        let mut old = Process::start(world.command([
            "save",
            "orders",
            state.to_str().unwrap(),
            "--take-over",
            "--level",
            "placed",
        ]));
        await_writing(&serve, before, &mut old);
        old.signal(Signal::STOP);
        if old_is_owner(&world) {
            stopped_in_a_write = true;
            fence_it(&world, old);
            break;
        }
        // It was done already; once more.
        old.signal(Signal::CONT);
        old.wait();
    }
    assert!(stopped_in_a_write, "the old primary was always faster");
}

/// Takes over from a stopped primary and then lets it go on.
fn fence_it(world: &World, mut old: Process) {
    world.ok(&["takeover", "orders"]);
    let new_state = noise(3, 1000);
    world.ok_with_input(&["save", "orders"], &new_state);
    let (log, held) = (world.ok(&["log", "orders"]), region_bytes(world));
    old.signal(Signal::CONT);
    assert_eq!(old.wait(), 8, "it learns that it is fenced");
    assert!(region_bytes(world) == held, "not one byte changed");
    assert_eq!(world.ok(&["log", "orders"]), log);
    assert_eq!(world.ok(&["load", "orders"]), new_state);
}

/// The medium behind the superblock and the catalog, which other commands change.
fn region_bytes(world: &World) -> Vec<u8> {
    let mut bytes = std::fs::read(world.medium()).unwrap();
    bytes.drain(..8 << 20);
    bytes
}

/// Waits until a good part of what the old primary saves has arrived.
fn await_writing(serve: &Serve, before: u64, old: &mut Process) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while serve.bytes_written() < before + (4 << 20) && !old.has_ended() {
        assert!(Instant::now() < deadline, "the old primary never wrote");
    }
}

/// Whether a connection with write access is open.
fn old_is_owner(world: &World) -> bool {
    let context = world
        .json(&["region", "show", "orders", "--address-context"])
        .remove(0);
    context["connections"]
        .as_array()
        .unwrap()
        .iter()
        .any(|connection| connection["writable"] == true)
}

#[test]
fn both_of_two_takeovers_at_once_are_told_what_happened() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    let mut owner = world
        .command(["append", "orders", "--lines"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let watch = Process::start(world.command(["watch", "orders", "--json"]));
    let mut stdin = owner.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    watch.line();
    let mut rivals: Vec<Process> = (0..4)
        .map(|_| Process::start(world.command(["takeover", "orders"])))
        .collect();
    let codes: Vec<i32> = rivals.iter_mut().map(Process::wait).collect();
    assert!(codes.contains(&0), "{codes:?}");
    assert!(codes.iter().all(|code| [0, 7, 8].contains(code)), "{codes:?}");
    drop(stdin);
    let output = owner.wait_with_output().unwrap();
    assert!([0, 8].contains(&output.status.code().unwrap()));
    assert_eq!(world.ok(&["load", "orders", "--all"]), b"one");
}
