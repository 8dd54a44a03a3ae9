//! With `--json` every command prints JSON values and nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::World;

#[test]
fn every_command_speaks_json() {
    let world = World::new();
    let serve = world.serve();
    for field in ["control", "data", "metrics", "context", "media", "incarnation"] {
        assert!(!serve.ready[field].is_null(), "{field} in {}", serve.ready);
    }
    let has = |arguments: &[&str], fields: &[&str]| {
        let values = world.json(arguments);
        assert!(!values.is_empty(), "{arguments:?} printed nothing");
        for value in &values {
            for field in fields {
                assert!(
                    value.get(field).is_some(),
                    "{field} of {arguments:?} is missing in {value}"
                );
            }
        }
        values
    };
    has(
        &["region", "create", "orders", "--size", "4MiB"],
        &["name", "id", "kind", "size", "generation", "owner"],
    );
    let receipt = [
        "level",
        "method",
        "incarnation",
        "generation",
        "sequence",
        "bytes",
        "took_us",
    ];
    has(&["save", "orders", "/dev/null"], &receipt);
    has(&["append", "orders", "/dev/null"], &receipt);
    has(
        &["append", "orders", "--lines"],
        &["sets", "bytes", "first_sequence", "last"],
    );
    has(
        &["load", "orders", "--all"],
        &["kind", "generation", "sequence", "unix_ms", "bytes", "text"],
    );
    has(
        &["log", "orders"],
        &["kind", "generation", "sequence", "unix_ms", "bytes", "finding"],
    );
    has(
        &["watch", "orders", "--count", "1"],
        &["kind", "sequence", "bytes"],
    );
    has(
        &["takeover", "orders"],
        &[
            "fenced_generation",
            "generation",
            "unread_sets",
            "fence_us",
            "sets",
        ],
    );
    has(&["clear", "orders", "--yes"], &receipt);
    has(&["region", "resize", "orders", "--size", "5MiB"], &["size"]);
    has(
        &["region", "show", "orders"],
        &["owner_alive", "readers", "extents"],
    );
    has(
        &["region", "show", "orders", "--address-context"],
        &["region", "mappings", "connections"],
    );
    assert!(world.json(&["region", "ls"])[0].is_array());
    let status = has(&["status"], &["units", "regions", "pairs", "manager_generation"]);
    for field in [
        "data_address",
        "incarnation",
        "free_bytes",
        "strongest",
        "flushes",
        "poisoned",
    ] {
        assert!(
            !status[0]["units"][0][field].is_null(),
            "{field} in {}",
            status[0]
        );
    }
    has(&["region", "rm", "orders", "--yes"], &["deleted"]);
    serve.stop();
    has(
        &["fsck", world.medium().to_str().unwrap()],
        &["unit", "regions", "free_bytes", "problems", "findings", "repairs"],
    );
}

#[test]
fn help_is_there_for_every_command() {
    let world = World::new();
    let help = String::from_utf8(world.ok(&["--help"])).unwrap();
    assert!(help.contains("Exit codes:") && help.contains("Examples:"));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 14, "{commands:?}");
    let reference = include_str!("../../../docs/cli.md");
    for command in commands.into_iter().filter(|command| *command != "help") {
        assert!(
            String::from_utf8(world.ok(&[command, "--help"]))
                .unwrap()
                .contains("Usage:")
        );
        assert!(
            reference.contains(command),
            "docs/cli.md does not tell of {command}"
        );
    }
    let version = String::from_utf8(world.ok(&["--version"])).unwrap();
    assert_eq!(version.trim(), format!("outlive {}", env!("CARGO_PKG_VERSION")));
}
