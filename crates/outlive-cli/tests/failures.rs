//! Every class of failure has its exit code and one clear line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use support::{World, noise};

#[test]
fn names_and_usage() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "1MiB"]);
    world.fails(&["region", "create", "orders", "--size", "1MiB"], 4, "exists");
    for command in ["load", "log", "save", "append", "watch", "takeover"] {
        world.fails(&[command, "nobody"], 3, "nobody");
    }
    world.fails(&["clear", "nobody", "--yes"], 3, "nobody");
    world.fails(&["region", "show", "nobody"], 3, "nobody");
    world.fails(&["region", "rm", "nobody", "--yes"], 3, "nobody");
    world.fails(&["switchover", "nobody"], 3, "nobody");
    world.fails(&["load", "orders"], 15, "no snapshot");
    world.fails(&["load", "orders", "--sequence", "77"], 15, "77");
    world.fails(&["region", "create", "huge", "--size", "1TiB"], 6, "");
    assert_eq!(world.run(&["region", "create", "x", "--size", "lots"]).code, 2);
    assert_eq!(world.run(&["no-such-command"]).code, 2);
    assert_eq!(world.run(&[]).code, 2);
}

#[test]
fn wrong_usage_is_one_line_or_one_object() {
    let world = World::new();
    world.fails(&["load"], 2, "<NAME> (see 'outlive load --help')");
    world.fails(&["load", "a", "--after", "abc"], 2, "'abc'");
    world.fails(
        &["region", "create", "x", "--size", "lots"],
        2,
        "outlive region create --help",
    );
    world.fails(&["no-such-command"], 2, "no-such-command");
    for arguments in [
        &["--json", "load"][..],
        &["load", "a", "--after", "abc", "--json"],
        &["--json", "region"],
        &["--json"],
    ] {
        let outcome = world.run(arguments);
        let error: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!(error["error"]["code"], "usage", "{arguments:?}");
        assert_eq!((outcome.code, outcome.text().as_str()), (2, ""), "{arguments:?}");
    }
    // What was asked for is a result.
    for arguments in [["load", "--help"], ["--json", "--version"]] {
        let outcome = world.run(&arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(outcome.text().contains("outlive"));
    }
}

#[test]
fn a_context_file_that_cannot_be_written_is_found_before_anything_is_made() {
    let world = World::new();
    std::fs::write(world.path("file"), b"").unwrap();
    let media = format!("file:{},size=64MiB", world.medium().display());
    for context in [world.path("file/context.json"), world.path("")] {
        let serve = [
            "serve",
            "--media",
            &media,
            "--control",
            "127.0.0.1:0",
            "--data",
            "127.0.0.1:0",
        ];
        let arguments = [&serve[..], &["--context", context.to_str().unwrap()]].concat();
        let said = world.fails(&arguments, 1, "cannot write the context file");
        assert!(!said.contains("start `outlive serve`"), "{said}");
    }
    assert!(!world.medium().exists());
}

#[test]
fn the_size_that_a_refusal_names_works() {
    let world = World::new();
    let _serve = world.serve();
    let create = |size: &str| world.run(&["region", "create", &format!("r{size}"), "--size", size]);
    for size in ["4KiB", "36864"] {
        let refused = create(size);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        let needed = refused.stderr.split_whitespace().last().unwrap();
        assert!(needed.parse::<u64>().unwrap() > 36864);
        if size == "4KiB" {
            let made = create(needed);
            assert_eq!(made.code, 0, "{}", made.stderr);
            world.ok_with_input(&["save", &format!("r{needed}")], b"state");
        }
    }
    for size in ["53248", "64KiB", "69632"] {
        let made = create(size);
        assert_eq!(made.code, 0, "{}", made.stderr);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&[
        "region",
        "create",
        "orders",
        "--size",
        "1MiB",
        "--max-snapshot",
        "128KiB",
    ]);
    world.ok_with_input(&["save", "orders"], b"whole");
    world.fails_with_input(&["save", "orders"], &noise(1, 128 * 1024 + 1), 5, "131072");
    world.fails_with_input(&["append", "orders"], &noise(1, 2 << 20), 5, "orders");
    // Fill the journal.
    let line = String::from_utf8(vec![b'x'; 1023]).unwrap() + "\n";
    let said = world.fails_with_input(
        &["append", "orders", "--lines"],
        line.repeat(2000).as_bytes(),
        5,
        "full",
    );
    let committed: usize = said
        .split("; ")
        .last()
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .expect("how many are committed");
    let kept = world.ok(&["load", "orders", "--updates", "--lines"]);
    assert_eq!(
        kept.len(),
        committed * 1024,
        "exactly those that were said to be committed are there"
    );
    assert!(committed > 100);
    assert_eq!(world.ok(&["load", "orders"]), b"whole");
    // A snapshot makes room again.
    world.ok_with_input(&["save", "orders"], b"newer");
    world.ok_with_input(&["append", "orders"], &noise(1, 1024));
}

#[test]
fn credentials_and_reachability() {
    let world = World::new();
    world.fails(&["status"], 9, "context.json");
    let serve = world.serve();
    // Of another server's authority: refused at once, not tried again.
    let stranger = World::in_memory();
    let elsewhere = stranger.serve();
    let mut wrong: Value = read_json(&stranger.path("context.json"));
    wrong["control"] = serve.ready["control"].clone();
    let path = stranger.path("wrong.json");
    write_private(&path, &wrong.to_string());
    let as_wrong = ["status", "--context", path.to_str().unwrap()];
    world.fails(&as_wrong, 9, "cannot be trusted");
    wrong["authority"] = read_json(&world.path("context.json"))["authority"].clone();
    write_private(&path, &wrong.to_string());
    world.fails(&as_wrong, 9, "refused our certificate");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    world.fails(&as_wrong, 9, "chmod 600");
    write_private(&path, r#"{"version":1,"control":"127.0.0.1:1","token":"t"}"#);
    world.fails(&as_wrong, 9, "start `outlive serve`");
    elsewhere.stop();
    serve.stop();
    let started = Instant::now();
    let said = world.fails(&["status", "--retry-for", "300ms"], 10, "unreachable");
    assert!(said.contains(" s"), "it says for how long it was tried: {said}");
    assert!(
        started.elapsed().as_millis() >= 150,
        "it was tried for most of the time that was asked"
    );
}

#[test]
fn a_mark_is_no_payload() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "1MiB"]);
    world.ok_with_input(&["append", "orders"], b"first");
    world.ok(&["clear", "orders", "--yes"]);
    for (sequence, text) in [
        ("1", "set 1 of region orders is a takeover mark, without payload"),
        ("4", "set 4 of region orders is a clear mark, without payload"),
        ("99", "holds no set 99"),
    ] {
        world.fails(&["load", "orders", "--sequence", sequence], 15, text);
    }
}

#[test]
fn one_is_no_plural_and_a_cause_is_said_once() {
    let world = World::new();
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "1MiB"]);
    let shown = String::from_utf8(world.ok(&["region", "show", "orders"])).unwrap();
    assert!(shown.contains("(1048576 bytes, 1 extent)"), "{shown}");
    let media = format!("file:{}", world.medium().display());
    let again = [
        "serve",
        "--media",
        &media,
        "--control",
        "127.0.0.1:0",
        "--data",
        "127.0.0.1:0",
    ];
    let other = world.path("other.json");
    let said = world.fails(
        &[&again[..], &["--context", other.to_str().unwrap()]].concat(),
        12,
        "is in use by another process",
    );
    assert_eq!(said.matches("medium").count(), 1, "{said}");
    serve.stop();
}

#[test]
fn with_json_a_failure_is_an_object() {
    let world = World::new();
    let _serve = world.serve();
    let outcome = world.run(&["load", "nobody", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!(error["error"]["code"], "no_such_region");
    assert_eq!(error["error"]["exit_code"], 3);
    assert_eq!(outcome.code, 3);
    assert!(outcome.stdout.is_empty());
}

#[test]
fn a_live_primary_keeps_others_out_unless_they_take_over() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    // A primary that waits for more lines.
    let mut owner = world
        .command(["append", "orders", "--lines", "--owner", "the first"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    await_owner(&world);
    world.fails_with_input(&["save", "orders"], b"other", 7, "the first");
    world.fails(&["region", "rm", "orders", "--yes"], 7, "the first");
    world.ok_with_input(&["save", "orders", "--take-over"], b"other");
    use std::io::Write;
    let mut stdin = owner.stdin.take().unwrap();
    // It is fenced already; whether the pipe still takes the line does not matter.
    let _ = stdin.write_all(b"too late\n");
    drop(stdin);
    let output = owner.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("fenced"), "{said}");
    assert_eq!(world.ok(&["load", "orders", "--all"]), b"other");
}

fn await_owner(world: &World) {
    let deadline = Instant::now() + std::time::Duration::from_secs(30);
    while world.json(&["region", "show", "orders"])[0]["owner_alive"] != true {
        assert!(Instant::now() < deadline, "the owner never came");
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
