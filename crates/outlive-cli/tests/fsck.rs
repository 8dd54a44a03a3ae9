//! The offline check finds what is damaged, says where, and repairs only what it can from a good copy.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use support::{World, find, flip, noise};

/// A closed medium with two regions.
fn closed_world() -> World {
    let world = World::new();
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok(&["region", "create", "other", "--size", "1MiB"]);
    world.ok_with_input(&["save", "orders"], &noise(1, 100_000));
    world.ok_with_input(
        &["append", "orders", "--lines"],
        b"first update\nsecond update\nthird update\n",
    );
    world.ok_with_input(&["save", "other"], b"other");
    serve.stop();
    world
}

fn check(world: &World, repair: bool) -> (i32, Value) {
    let medium = world.medium();
    let mut arguments = vec!["fsck", medium.to_str().unwrap(), "--json"];
    arguments.extend(repair.then_some("--repair"));
    let outcome = world.run(&arguments);
    (
        outcome.code,
        serde_json::from_slice(&outcome.stdout).expect("a report"),
    )
}

fn problems(report: &Value) -> Vec<&Value> {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .filter(|finding| finding["severity"] == "problem")
        .collect()
}

#[test]
fn a_good_medium_is_clean_after_a_stop_and_after_a_crash() {
    let world = closed_world();
    let (code, report) = check(&world, false);
    assert_eq!((code, problems(&report).len()), (0, 0), "{report}");
    assert_eq!(report["regions"], 2);
    assert!(report["sets"].as_u64().unwrap() >= 5);
    let serve = world.serve();
    world.ok_with_input(&["append", "orders"], b"fourth");
    serve.kill();
    let (code, report) = check(&world, false);
    assert_eq!((code, problems(&report).len()), (0, 0), "{report}");
}

#[test]
fn a_medium_in_use_and_what_is_none_are_refused() {
    let world = World::new();
    let serve = world.serve();
    let medium = world.medium();
    world.fails(&["fsck", medium.to_str().unwrap()], 12, "in use");
    serve.stop();
    let foreign = world.path("foreign");
    std::fs::write(&foreign, vec![7; 16 << 20]).unwrap();
    world.fails(&["fsck", foreign.to_str().unwrap()], 12, "not an Outlive medium");
    let nothing = world.path("nothing");
    let said = world.fails(&["fsck", nothing.to_str().unwrap()], 12, "there is no medium at");
    assert!(said.contains("nothing") && !said.contains("size"), "{said}");
    world.fails(&["fsck", "memory:size=64MiB"], 2, "memory");
}

#[test]
fn a_flipped_byte_of_a_committed_update_is_found_and_named() {
    let world = closed_world();
    flip(&world.medium(), find(&world.medium(), b"second update") + 3);
    let (code, report) = check(&world, false);
    assert_eq!(code, 13, "{report}");
    let found = problems(&report);
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|finding| finding["place"] == "orders" && finding["offset"].is_u64()),
        "{report}"
    );
    // Repair has no good copy to take, and changes nothing.
    let before = std::fs::read(world.medium()).unwrap();
    let (code, report) = check(&world, true);
    assert_eq!((code, report["repairs"].as_array().unwrap().len()), (13, 0));
    assert!(
        std::fs::read(world.medium()).unwrap() == before,
        "nothing was changed"
    );
    // Readers say so, too, and name it.
    let _serve = world.serve();
    world.fails(&["load", "orders", "--all"], 11, "orders");
    assert_eq!(world.ok(&["load", "other"]), b"other", "the other region goes on");
    assert_eq!(world.run(&["log", "orders"]).code, 11);
}

#[test]
fn a_flipped_byte_of_a_snapshot_is_found() {
    let world = closed_world();
    flip(
        &world.medium(),
        find(&world.medium(), &noise(1, 100_000)[500..600]),
    );
    let (code, report) = check(&world, false);
    assert_eq!(code, 13);
    assert!(
        problems(&report)
            .iter()
            .any(|finding| finding["message"].as_str().unwrap().contains("snapshot")),
        "{report}"
    );
}

#[test]
fn a_bad_superblock_copy_is_rewritten_from_the_good_one() {
    for copy in [0, 1] {
        let world = closed_world();
        flip(&world.medium(), copy * 4096 + 30);
        let (code, report) = check(&world, false);
        assert_eq!(code, 13, "{report}");
        assert_eq!(problems(&report)[0]["place"], "superblock");
        assert_eq!(problems(&report)[0]["offset"], copy * 4096);
        let (code, report) = check(&world, true);
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["repairs"].as_array().unwrap().len(), 1);
        let (code, report) = check(&world, false);
        assert_eq!((code, problems(&report).len()), (0, 0), "{report}");
        let _serve = world.serve();
        assert_eq!(world.ok(&["load", "other"]), b"other");
    }
}

#[test]
fn a_bad_control_block_copy_is_rewritten_from_the_good_one() {
    let world = closed_world();
    // The two copies of a region's control block begin with the same eight bytes, a block apart.
    let bytes = std::fs::read(world.medium()).unwrap();
    let copies: Vec<usize> = (0..bytes.len() / 4096)
        .map(|block| block * 4096)
        .filter(|at| bytes[*at..].starts_with(b"OutlvCTL"))
        .collect();
    assert!(
        copies.len() >= 6,
        "two for each region and two for the catalog: {copies:?}"
    );
    let last = *copies.last().unwrap();
    assert_eq!(last - copies[copies.len() - 2], 4096);
    flip(&world.medium(), last as u64 + 40);
    let (code, report) = check(&world, false);
    assert_eq!(code, 13, "{report}");
    let (code, report) = check(&world, true);
    assert_eq!(
        (code, report["repairs"].as_array().unwrap().len()),
        (0, 1),
        "{report}"
    );
    assert!(
        std::fs::read(world.medium()).unwrap() == bytes,
        "it is again what it was"
    );
}

#[test]
fn both_superblock_copies_gone_is_said_and_not_repaired() {
    let world = closed_world();
    flip(&world.medium(), 30);
    flip(&world.medium(), 4096 + 30);
    let (code, report) = check(&world, true);
    assert_eq!((code, problems(&report).len()), (13, 1), "{report}");
    assert_eq!(report["repairs"].as_array().unwrap().len(), 0);
}

#[test]
fn a_cut_medium_gets_no_summary_of_what_was_not_read() {
    let world = closed_world();
    let medium = world.medium();
    let file = std::fs::OpenOptions::new().write(true).open(&medium).unwrap();
    file.set_len(32 << 20).unwrap();
    let outcome = world.run(&["fsck", medium.to_str().unwrap()]);
    assert_eq!(outcome.code, 13, "{}", outcome.stderr);
    let said = outcome.text();
    assert!(said.contains("33554432"), "{said}");
    assert!(
        said.contains(": 1 problem; nothing else could be checked"),
        "{said}"
    );
    assert!(!said.contains("incarnation"), "{said}");
}
