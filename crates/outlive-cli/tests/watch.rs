//! Sets as they arrive, and the gaps between them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use rustix::process::Signal;
use support::{Process, World, noise};

#[test]
fn sets_are_printed_as_they_arrive() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(&["save", "orders"], b"whole");
    let watch = Process::start(world.command(["watch", "orders", "--json", "--payload"]));
    let first = watch.json_line();
    assert_eq!(
        (&first["kind"], &first["text"]),
        (&"snapshot".into(), &"whole".into())
    );
    world.ok_with_input(&["append", "orders", "--lines"], b"one\ntwo\n");
    assert_eq!(watch.json_line()["text"], "one");
    assert_eq!(watch.json_line()["text"], "two");
    world.ok(&["clear", "orders", "--yes"]);
    assert_eq!(watch.json_line()["kind"], "clear");
    world.ok_with_input(&["append", "orders"], &[0xff, 0x00]);
    assert_eq!(watch.json_line()["hex"], "ff00");
    world.ok_with_input(&["save", "orders"], b"newer");
    assert_eq!(watch.json_line()["text"], "newer");
}

#[test]
fn it_ends_after_a_count_and_with_ctrl_c() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(&["append", "orders", "--lines"], b"one\ntwo\nthree\n");
    let seen = world.json(&["watch", "orders", "--count", "2", "--payload"]);
    assert_eq!(
        seen.iter()
            .map(|set| set["text"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["one", "two"]
    );
    let mut watch = Process::start(world.command(["watch", "orders"]));
    for _ in 0..3 {
        assert!(watch.line().contains("update"));
    }
    watch.signal(Signal::INT);
    assert_eq!(watch.wait(), 0);
}

#[test]
fn what_was_overwritten_before_it_was_read_is_a_gap() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&[
        "region",
        "create",
        "orders",
        "--size",
        "1MiB",
        "--max-snapshot",
        "64KiB",
    ]);
    world.ok_with_input(&["append", "orders"], b"seen");
    let watch = Process::start(world.command(["watch", "orders", "--json"]));
    let seen = watch.json_line()["sequence"].as_u64().unwrap();
    // While it sleeps the journal goes round, twice.
    watch.signal(Signal::STOP);
    for lap in 0..4 {
        let lines = String::from_utf8(vec![b'x'; 50_000]).unwrap() + "\n";
        world.ok_with_input(&["append", "orders", "--lines"], lines.repeat(10).as_bytes());
        world.ok_with_input(&["save", "orders"], &noise(lap, 100));
    }
    watch.signal(Signal::CONT);
    let gap = watch.json_line();
    assert!(gap["gap"]["from"].as_u64().unwrap() > seen, "{gap}");
    assert!(
        gap["gap"]["to"].as_u64().unwrap() >= gap["gap"]["from"].as_u64().unwrap(),
        "{gap}"
    );
    // It goes on with the snapshot that covers the gap.
    assert_eq!(watch.json_line()["kind"], "snapshot");
}
