//! What a real server leaves in its audit log (U5).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Process, Serve, World};

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn log_of(serve: &Serve) -> PathBuf {
    Path::new(serve.ready["trust"].as_str().unwrap()).join("audit.jsonl")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Waits for a line that `is` it.
fn await_line(path: &Path, is: impl Fn(&Value) -> bool) -> Value {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if let Some(line) = lines(path).into_iter().find(|line| is(line)) {
            return line;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no such line in {:#?}", lines(path));
}

#[test]
fn one_file_for_its_owner_has_what_was_done_and_no_secret() {
    let world = World::new();
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "8MiB"]);
    world.ok_with_input(&["save", "orders"], b"payload of a tenant");
    let log = log_of(&serve);
    let attached = await_line(&log, |line| line["act"] == "attach");
    assert_eq!(attached["outcome"], "done");
    let written = await_line(&log, |line| {
        line["act"] == "connect" && line["identity"] == "administrator"
    });
    assert_eq!(
        (&written["right"], &written["outcome"]),
        (&"write".into(), &"done".into())
    );
    let ended = await_line(&log, |line| {
        line["act"] == "disconnect" && line["connection"] == written["connection"]
    });
    assert_eq!(ended["region"], written["region"]);
    assert_eq!(fs::metadata(&log).unwrap().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&log).unwrap();
    for secret in ["PRIVATE KEY", "CERTIFICATE", "payload of a tenant"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn who_is_not_let_in_is_written_down() {
    let world = World::new();
    let serve = world.serve();
    let control = serve.ready["control"].as_str().unwrap();
    let mut stranger = TcpStream::connect(control).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let from = stranger.local_addr().unwrap().to_string();
    let refused = await_line(&log_of(&serve), |line| line["source"] == from.as_str());
    assert_eq!(
        (&refused["act"], &refused["outcome"]),
        (&"connect".into(), &"refused".into())
    );
}

#[test]
fn it_goes_elsewhere_or_nowhere_when_asked_and_on_after_a_rotation() {
    let world = World::in_memory();
    let path = world.path("elsewhere.jsonl");
    let start = |to: &str| {
        let arguments = [
            "serve",
            "--json",
            "--media",
            "memory:size=16MiB",
            "--control",
            "127.0.0.1:0",
            "--data",
            "127.0.0.1:0",
            "--audit-log",
            to,
        ];
        let process = Process::start(world.command(arguments));
        let ready = process.json_line();
        Serve { process, ready }
    };
    let serve = start(path.to_str().unwrap());
    await_line(&path, |line| line["act"] == "attach");
    // As logrotate does it.
    fs::rename(&path, world.path("old.jsonl")).unwrap();
    serve.process.signal(rustix::process::Signal::HUP);
    let since = Instant::now();
    while !path.exists() {
        assert!(since.elapsed() < PATIENCE, "not opened anew");
        std::thread::sleep(Duration::from_millis(5));
    }
    world.ok(&["region", "create", "raw", "--size", "1MiB", "--raw"]);
    assert!(!log_of(&serve).exists());
    serve.stop();

    let serve = start("off");
    assert!(!log_of(&serve).exists());
    serve.stop();
    let missing = world.path("missing/audit.jsonl");
    let arguments = [
        "serve",
        "--media",
        "memory:size=16MiB",
        "--control",
        "127.0.0.1:0",
        "--audit-log",
        missing.to_str().unwrap(),
    ];
    world.fails(&arguments, 1, "--audit-log");
}
