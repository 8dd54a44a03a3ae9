//! Regions: create, list, show, resize, delete; what is mapped where.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::json;
use support::{World, noise};

#[test]
fn a_region_is_made_shown_and_deleted_with_consent() {
    let world = World::new();
    let _serve = world.serve();
    let made = &world.json(&["region", "create", "orders", "--size", "5MB", "--slots", "3"])[0];
    assert_eq!(made["name"], "orders");
    assert_eq!(made["size"], 5_001_216, "rounded up to 4 KiB");
    assert_eq!(made["slots"], 3);
    assert_eq!(&world.json(&["region", "show", "orders"])[0]["id"], &made["id"]);
    world.ok(&["region", "create", "scratch", "--size", "1MiB", "--raw"]);
    let listed = world.json(&["region", "ls"]).remove(0);
    let names: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|region| region["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["orders", "scratch"]);
    world.fails(&["region", "rm", "orders"], 14, "--yes");
    world.ok(&["region", "show", "orders"]);
    world.ok(&["region", "rm", "orders", "--yes"]);
    world.fails(&["region", "show", "orders"], 3, "orders");
    world.fails(&["save", "scratch"], 2, "scratch");
}

#[test]
fn the_lists_of_a_region_are_set_shown_and_checked() {
    let world = World::new();
    let serve = world.serve();
    let made = world.json(&[
        "region", "create", "orders", "--size", "1MiB", "--owner", "alice", "--owner", "bob", "--reader",
        "eve",
    ]);
    assert_eq!(made[0]["may_own"], json!(["alice", "bob"]));
    assert_eq!(made[0]["may_read"], json!(["eve"]));
    // Whoever creates a region for others has no right to it.
    world.fails_with_input(
        &["save", "orders"],
        b"state",
        9,
        "region grant orders --owner administrator",
    );
    let granted =
        String::from_utf8(world.ok(&["region", "grant", "orders", "--owner", "administrator"])).unwrap();
    assert!(
        granted.contains("administrator is now listed as owner"),
        "{granted}"
    );
    let denied = world.json(&["region", "deny", "orders", "--owner", "bob"]);
    assert_eq!(denied[0]["may_own"], json!(["administrator", "alice"]));
    world.ok_with_input(&["save", "orders"], b"state");
    let shown = String::from_utf8(world.ok(&["region", "show", "orders"])).unwrap();
    assert!(shown.contains("may own     administrator, alice"), "{shown}");
    assert!(shown.contains("may read    eve"), "{shown}");
    let listed = world.json(&["region", "ls", "--catalog"]);
    assert_eq!(listed[0][0]["may_own"], json!(["administrator", "alice"]));

    world.fails(&["region", "grant", "orders"], 2, "--owner");
    world.fails(
        &["region", "grant", "orders", "--owner", "a", "--reader", "b"],
        2,
        "--reader",
    );
    world.fails(&["region", "grant", "orders", "--reader", "a b"], 2, "identity");
    world.fails(
        &["region", "grant", "orders", "--reader", "system/unit"],
        2,
        "own processes",
    );
    world.fails(&["region", "deny", "nowhere", "--reader", "eve"], 3, "nowhere");
    serve.stop();
    world.ok(&["fsck", world.medium().to_str().unwrap()]);
}

#[test]
fn the_catalog_is_read_one_sidedly_and_says_the_same() {
    let world = World::new();
    let _serve = world.serve();
    for name in ["a", "b", "c"] {
        world.ok(&["region", "create", name, "--size", "1MiB"]);
    }
    world.ok_with_input(&["save", "b"], b"state");
    world.ok(&["region", "rm", "a", "--yes"]);
    let (manager, catalog) = (
        world.json(&["region", "ls"]).remove(0),
        world.json(&["region", "ls", "--catalog"]).remove(0),
    );
    for (one, other) in manager
        .as_array()
        .unwrap()
        .iter()
        .zip(catalog.as_array().unwrap())
    {
        for field in [
            "name",
            "id",
            "kind",
            "size",
            "slots",
            "generation",
            "extents",
            "created_unix_ms",
        ] {
            assert_eq!(one[field], other[field], "{field}");
        }
    }
    assert_eq!(catalog.as_array().unwrap().len(), 2);
}

#[test]
fn a_region_grows_and_keeps_what_it_holds() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "1MiB"]);
    world.ok_with_input(&["save", "orders"], &noise(1, 100_000));
    world.ok_with_input(&["append", "orders", "--lines"], b"one\ntwo\n");
    world.fails_with_input(&["append", "orders"], &noise(2, 1 << 20), 5, "orders");
    world.ok(&["region", "resize", "orders", "--size", "8MiB"]);
    assert_eq!(world.json(&["region", "show", "orders"])[0]["size"], 8 << 20);
    assert!(world.ok(&["load", "orders"]) == noise(1, 100_000));
    world.ok_with_input(&["append", "orders"], &noise(2, 1 << 20));
    let updates = world.ok(&["load", "orders", "--updates"]);
    assert!(updates.starts_with(b"onetwo") && updates[6..] == noise(2, 1 << 20));
    world.fails(&["region", "resize", "orders", "--size", "1MiB"], 2, "");
}

#[test]
fn the_address_context_names_who_may_do_what() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "1MiB"]);
    world.ok_with_input(&["save", "orders"], b"state");
    let watch = support::Process::start(world.command(["watch", "orders"]));
    watch.line();
    let context = &world.json(&["region", "show", "orders", "--address-context"])[0];
    let mapped: u64 = context["mappings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mapping| mapping["len"].as_u64().unwrap())
        .sum();
    assert!(mapped >= 1 << 20);
    let connections = context["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 1, "{context}");
    assert_eq!(connections[0]["writable"], false);
    assert_eq!(connections[0]["identity"], "administrator");
    drop(watch);
}

#[test]
fn regions_in_several_extents_hold_what_is_put_into_them() {
    let world = World::new();
    let _serve = world.serve();
    // Every second one is deleted, so that what is free is in pieces.
    let names: Vec<String> = (0..12).map(|number| format!("r{number}")).collect();
    for name in &names {
        world.ok(&["region", "create", name, "--size", "4MiB"]);
    }
    for name in names.iter().step_by(2) {
        world.ok(&["region", "rm", name, "--yes"]);
    }
    let made = &world.json(&[
        "region",
        "create",
        "wide",
        "--size",
        "24MiB",
        "--max-snapshot",
        "10MiB",
    ])[0];
    assert!(made["extents"].as_u64().unwrap() > 1, "{made}");
    let state = noise(7, 9_999_999);
    world.ok_with_input(&["save", "wide"], &state);
    assert!(world.ok(&["load", "wide"]) == state);
    for name in names.iter().skip(1).step_by(2) {
        world.fails(&["load", name], 15, "no snapshot");
    }
}
