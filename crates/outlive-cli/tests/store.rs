//! A checkpoint store for scripts: what was saved and appended comes back as it was.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{World, noise};

#[test]
fn a_snapshot_goes_in_and_comes_out_through_pipes() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "16MiB"]);
    let (first, second) = (noise(1, 3_000_001), noise(2, 17));
    world.ok_with_input(&["save", "orders"], &first);
    assert!(
        world.ok(&["load", "orders"]) == first,
        "the first snapshot differs"
    );
    world.ok_with_input(&["save", "orders", "-"], &second);
    assert_eq!(world.ok(&["load", "orders"]), second);
}

#[test]
fn a_file_is_saved_and_an_empty_set_is_a_set() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    let path = world.path("state");
    std::fs::write(&path, noise(3, 1000)).unwrap();
    world.ok(&["save", "orders", path.to_str().unwrap()]);
    assert_eq!(world.ok(&["load", "orders"]), noise(3, 1000));
    world.ok(&["save", "orders"]);
    assert_eq!(world.ok(&["load", "orders"]), b"");
    assert_eq!(world.json(&["log", "orders"]).last().unwrap()["bytes"], 0);
}

#[test]
fn updates_follow_the_snapshot_in_order() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(&["save", "orders"], b"whole");
    let receipt = &world.json(&["append", "orders", "/dev/null"])[0];
    assert_eq!(receipt["bytes"], 0);
    world.ok_with_input(&["append", "orders", "--lines"], b"one\ntwo\n\nfour");
    assert_eq!(
        world.ok(&["load", "orders", "--updates", "--lines"]),
        b"\none\ntwo\n\nfour\n"
    );
    assert_eq!(world.ok(&["load", "orders", "--all"]), b"wholeonetwofour");
    assert_eq!(world.ok(&["load", "orders"]), b"whole");

    let all = world.json(&["load", "orders", "--all"]);
    let kinds: Vec<&str> = all.iter().map(|set| set["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["snapshot", "update", "update", "update", "update", "update"]
    );
    let sequences: Vec<u64> = all.iter().map(|set| set["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    let after = sequences[2].to_string();
    assert_eq!(
        world.ok(&["load", "orders", "--after", &after, "--lines"]),
        b"two\n\nfour\n"
    );
    assert_eq!(world.ok(&["load", "orders", "--sequence", &after]), b"one");
}

#[test]
fn each_set_can_have_a_file() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(&["save", "orders"], b"whole");
    world.ok_with_input(&["append", "orders"], b"change");
    let folder = world.path("sets");
    world.ok(&["load", "orders", "--all", "--into", folder.to_str().unwrap()]);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let contents: Vec<_> = names.iter().map(|name| std::fs::read(name).unwrap()).collect();
    assert_eq!(contents, [b"whole".to_vec(), b"change".to_vec()]);
    assert!(names[0].extension().is_some_and(|kind| kind == "snapshot"));
    assert!(names[1].extension().is_some_and(|kind| kind == "update"));
}

#[test]
fn thousands_of_lines_are_pipelined() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "16MiB"]);
    let lines: String = (0..5000).map(|number| format!("line {number}\n")).collect();
    let arguments = ["append", "orders", "--lines", "--json"];
    let summary: serde_json::Value =
        serde_json::from_slice(&world.ok_with_input(&arguments, lines.as_bytes())).unwrap();
    assert_eq!(summary["sets"], 5000);
    assert_eq!(
        world.ok(&["load", "orders", "--updates", "--lines"]),
        lines.as_bytes()
    );
}

#[test]
fn earlier_snapshots_are_kept_as_many_as_there_are_slots() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&[
        "region",
        "create",
        "orders",
        "--size",
        "16MiB",
        "--slots",
        "3",
        "--max-snapshot",
        "1MiB",
    ]);
    for number in 0..5 {
        world.ok_with_input(&["save", "orders"], format!("state {number}").as_bytes());
    }
    let log = world.json(&["log", "orders"]);
    let kept: Vec<_> = log.iter().filter(|set| set["kind"] == "snapshot").collect();
    assert_eq!(kept.len(), 3, "{log:?}");
    for (set, number) in kept.iter().zip(2..) {
        let sequence = set["sequence"].to_string();
        assert_eq!(
            world.ok(&["load", "orders", "--sequence", &sequence]),
            format!("state {number}").as_bytes()
        );
        assert_eq!(set["finding"], "verified");
    }
}

#[test]
fn both_levels_are_told_apart() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    let receipt = |level: &[&str]| world.json(&[&["append", "orders"], level].concat()).remove(0);
    assert_eq!(receipt(&[])["level"], "persistent");
    assert_eq!(receipt(&["--level", "persistent"])["level"], "persistent");
    let placed = receipt(&["--level", "placed"]);
    assert_eq!(placed["level"], "placed");
    assert!(placed["method"].is_null());
}

#[test]
fn a_medium_refuses_what_it_cannot_promise() {
    let world = World::in_memory();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.fails(
        &["append", "orders", "/dev/null", "--level", "persistent"],
        2,
        "persistent",
    );
    let receipt = &world.json(&["append", "orders", "/dev/null"])[0];
    assert_eq!(receipt["level"], "placed", "the strongest that there is");
    assert_eq!(world.json(&["status"])[0]["units"][0]["strongest"], "placed");
    assert_eq!(
        world
            .json(&["log", "orders"])
            .iter()
            .filter(|set| set["kind"] == "update")
            .count(),
        1
    );
}

#[test]
fn cleared_sets_can_be_asked_for_until_a_newer_snapshot_is_there() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(&["save", "orders"], b"whole");
    world.ok_with_input(&["append", "orders"], b"change");
    world.fails(&["clear", "orders"], 14, "--yes");
    assert_eq!(
        world.ok(&["load", "orders"]),
        b"whole",
        "nothing was cleared without consent"
    );
    world.ok(&["clear", "orders", "--yes"]);
    world.fails(&["load", "orders"], 15, "no snapshot");
    assert_eq!(world.ok(&["load", "orders", "--all"]), b"");
    assert_eq!(world.ok(&["load", "orders", "--cleared"]), b"whole");
    assert_eq!(
        world.ok(&["load", "orders", "--cleared", "--all"]),
        b"wholechange"
    );
    world.ok_with_input(&["append", "orders"], b"after");
    assert_eq!(world.ok(&["load", "orders", "--all"]), b"after");
    world.ok_with_input(&["save", "orders"], b"newer");
    assert_eq!(world.ok(&["load", "orders"]), b"newer");
}

#[test]
fn whoever_closes_the_pipe_ends_the_command_quietly() {
    use std::io::Read;
    use std::process::Stdio;
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "32MiB"]);
    world.ok_with_input(&["save", "orders"], &noise(4, 6 << 20));
    let mut child = world
        .command(["load", "orders"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(first, noise(4, 10)[..]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
