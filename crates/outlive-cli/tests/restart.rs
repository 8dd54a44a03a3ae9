//! The unit outlives its clients, and itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{World, noise};

#[test]
fn nothing_committed_is_missing_after_kill_9() {
    let world = World::new();
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "8MiB"]);
    world.ok_with_input(&["save", "orders"], &noise(1, 1_000_000));
    world.ok_with_input(&["append", "orders", "--lines"], b"one\ntwo\n");
    world.ok_with_input(&["append", "orders", "--level", "placed"], b"three");
    let before = serve.kill();
    let serve = world.serve_again(&before);
    assert_eq!(
        serve.ready["incarnation"].as_u64().unwrap(),
        before["incarnation"].as_u64().unwrap() + 1,
        "each start is an incarnation of its own"
    );
    assert!(world.ok(&["load", "orders"]) == noise(1, 1_000_000));
    assert_eq!(
        world.ok(&["load", "orders", "--updates", "--lines"]),
        b"one\ntwo\nthree\n"
    );
}

#[test]
fn both_processes_dead_and_the_unit_restarted() {
    let world = World::new();
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "8MiB"]);
    world.ok_with_input(&["save", "orders"], b"whole");
    let mut primary = world
        .command(["append", "orders", "--lines"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let backup = support::Process::start(world.command(["watch", "orders", "--json"]));
    assert_eq!(backup.json_line()["kind"], "snapshot");
    let mut stdin = primary.stdin.take().unwrap();
    stdin.write_all(b"acknowledged\n").unwrap();
    assert_eq!(
        backup.json_line()["kind"],
        "update",
        "the backup has read it, so it is placed"
    );
    primary.kill().unwrap();
    primary.wait().unwrap();
    backup.kill();
    let before = serve.kill();
    let started = Instant::now();
    let _serve = world.serve_again(&before);
    assert_eq!(
        world.ok(&["load", "orders", "--all", "--lines"]),
        b"whole\nacknowledged\n"
    );
    // The dead primary has a moment to come back to the restarted unit.
    while world.json(&["region", "show", "orders"])[0]["owner_alive"] == true {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "nobody comes back, and nobody is let in"
        );
    }
    world.ok_with_input(&["append", "orders"], b"and on");
    assert_eq!(
        world.ok(&["load", "orders", "--updates", "--lines"]),
        b"acknowledged\nand on\n"
    );
}

#[test]
fn clients_reconnect_by_themselves() {
    let world = World::new();
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "8MiB"]);
    let mut primary = world
        .command(["append", "orders", "--lines", "--retry-for", "60s"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let watch = support::Process::start(world.command([
        "watch",
        "orders",
        "--payload",
        "--json",
        "--retry-for",
        "60s",
    ]));
    let mut stdin = primary.stdin.take().unwrap();
    stdin.write_all(b"before\n").unwrap();
    assert_eq!(watch.json_line()["text"], "before");
    let before = serve.kill();
    stdin.write_all(b"meanwhile\n").unwrap();
    let _serve = world.serve_again(&before);
    stdin.write_all(b"after\n").unwrap();
    assert_eq!(watch.json_line()["text"], "meanwhile");
    assert_eq!(watch.json_line()["text"], "after");
    drop(stdin);
    let output = primary.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        world.ok(&["load", "orders", "--updates", "--lines"]),
        b"before\nmeanwhile\nafter\n"
    );
}

#[test]
fn sigterm_ends_it_cleanly_and_identities_stay() {
    let world = World::new();
    let serve = world.serve();
    let context = || std::fs::read_to_string(world.path("context.json")).unwrap();
    let first = context();
    let watching = support::Process::start(world.command(["status", "--json"]));
    assert!(watching.json_line()["units"].is_array());
    let before = serve.stop();
    let _serve = world.serve_again(&before);
    assert_eq!(context(), first);
    world.ok(&["status"]);
}

#[test]
fn a_medium_is_served_once() {
    let world = World::new();
    let _serve = world.serve();
    let medium = format!("file:{}", world.medium().display());
    let other = world.path("other.json");
    let arguments = [
        "serve",
        "--media",
        &medium,
        "--control",
        "127.0.0.1:0",
        "--data",
        "127.0.0.1:0",
        "--context",
        other.to_str().unwrap(),
    ];
    world.fails(&arguments, 12, "unit.media");
    assert!(
        !other.exists(),
        "a server that did not start leaves no context file"
    );
}

#[test]
fn what_is_no_medium_is_left_alone() {
    let world = World::new();
    let bytes = support::noise(9, 64 << 20);
    std::fs::write(world.medium(), &bytes).unwrap();
    let medium = format!("file:{}", world.medium().display());
    let arguments = [
        "serve",
        "--media",
        &medium,
        "--control",
        "127.0.0.1:0",
        "--data",
        "127.0.0.1:0",
    ];
    world.fails(&arguments, 12, "not an Outlive medium");
    assert!(
        std::fs::read(world.medium()).unwrap() == bytes,
        "not a byte was changed"
    );
    let missing = format!("file:{}", world.path("missing").display());
    world.fails(
        &["serve", "--media", &missing, "--control", "127.0.0.1:0"],
        12,
        "there is no medium",
    );
    let no_folder = format!("file:{}", world.path("no/folder").display());
    world.fails(
        &["serve", "--media", &no_folder, "--control", "127.0.0.1:0"],
        12,
        "no/folder",
    );
    assert!(
        !world.path("no").exists(),
        "no folder is made for a medium that is not to be made"
    );
    assert_eq!(world.run(&["serve", "--media", "disk:x"]).code, 2);
}

#[test]
fn a_control_address_in_use_is_said() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let medium = format!("file:{},size=64MiB", world.medium().display());
    world.fails(
        &[
            "serve",
            "--media",
            &medium,
            "--control",
            &address,
            "--data",
            "127.0.0.1:0",
        ],
        1,
        &address,
    );
    world.fails(
        &[
            "serve",
            "--media",
            &medium,
            "--control",
            "127.0.0.1:0",
            "--data",
            &address,
        ],
        1,
        &address,
    );
    assert!(!world.path("context.json").exists());
}

#[test]
fn an_address_that_no_client_can_use_needs_another_name() {
    let world = World::new();
    let medium = format!("file:{},size=64MiB", world.medium().display());
    let local = "127.0.0.1:0";
    for (control, data, option) in [
        ("0.0.0.0:0", local, "--advertise-control"),
        (local, "0.0.0.0:0", "--advertise-data"),
    ] {
        let arguments = ["serve", "--media", &medium, "--control", control, "--data", data];
        world.fails(&arguments, 2, option);
    }
    let without_port = [
        "serve",
        "--media",
        &medium,
        "--control",
        local,
        "--data",
        local,
        "--advertise-control",
        "unit.example",
    ];
    world.fails(&without_port, 2, "HOST:PORT");
    let public = [
        "serve",
        "--media",
        &medium,
        "--control",
        local,
        "--data",
        local,
        "--metrics",
        "0.0.0.0:0",
    ];
    world.fails(&public, 2, "--metrics-public");
    assert!(!world.medium().exists(), "refused before anything was made");
}

#[test]
fn metrics_are_there_for_prometheus() {
    let world = World::new();
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "1MiB"]);
    world.ok_with_input(&["save", "orders"], b"whole");
    let answer = serve.scrape();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for line in ["outlive_region_bytes{region=\"orders\"} 1048576", "# EOF"] {
        assert!(
            answer.lines().any(|found| found == line),
            "{line} is missing in {answer}"
        );
    }
    assert!(answer.contains("outlive_unit_flushes_total{"), "{answer}");
}

#[test]
fn an_idle_server_is_idle() {
    let world = World::new();
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "1MiB"]);
    world.ok_with_input(&["save", "orders"], b"whole");
    let (before, started) = (cpu_ticks(serve.process.id()), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let used = cpu_ticks(serve.process.id()) - before;
    // Ticks are hundredths of a second, so one of them is a hundredth of a core for a second; one more for rounding.
    let allowed = started.elapsed().as_secs() + 1;
    assert!(used <= allowed, "{used} ticks are more than 1 % of a core");
}

fn cpu_ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name, in parentheses, may hold blanks.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
