//! Descriptors.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::ends_well;
use crate::support::{Process, World};

/// A server that has no descriptor left serves whom it has, says once what is missing, does not burn its processor, and lets people
/// in again when it may have more.
#[test]
fn a_server_without_descriptors_serves_whom_it_has_and_then_everybody() {
    let world = World::new();
    let log = world.path("server.log");
    let (server, ready) = serve_with_log(&world, &log);
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    let (mut appending, mut lines) = append_lines(&world);
    writeln!(lines, "before").unwrap();
    await_owner(&world);

    let limit = limit_to_what_is_open(server.id());
    let control = ready["control"].as_str().unwrap();
    let spent = processor_ms(server.id());
    let waiting: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(control).unwrap()).collect();
    let begun = Instant::now();
    await_line(&log, "cannot accept");
    writeln!(lines, "meanwhile").unwrap();
    await_bytes(&world.medium(), b"meanwhile");
    let refused = ends_well(
        world
            .command(["--retry-for", "500ms", "status"])
            .env("RUST_LOG", "off"),
        &[10],
    );
    assert!(refused.stderr.contains("unreachable"), "{}", refused.stderr);
    let busy = processor_ms(server.id()) - spent;
    let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap();
    assert!(busy < 100 + elapsed / 2, "{busy} ms of processor in {elapsed} ms");
    let text = fs::read_to_string(&log).unwrap();
    let said = text.lines().filter(|line| line.contains("cannot accept")).count();
    assert!(said <= 3, "it is said once for each listener: {text}");

    drop(waiting);
    prlimit(Pid::from_raw(server.id() as i32), Resource::Nofile, limit).unwrap();
    world.ok(&["status"]);
    drop(lines);
    assert!(
        appending.wait().unwrap().success(),
        "the open connection never noticed"
    );
    assert_eq!(
        world.ok(&["load", "orders", "--updates", "--lines"]),
        b"before\nmeanwhile\n"
    );
}

/// A primary whose data connection the unit has no descriptor for tries on, as the owner that it is by then, and gets it.
#[test]
fn a_primary_that_the_unit_cannot_take_yet_is_not_kept_out_by_itself() {
    let world = World::new();
    let log = world.path("server.log");
    let (server, ready) = serve_with_log(&world, &log);
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    // Room for the control connection of the one who opens, and for no data connection behind it.
    let limit = limit_to_what_is_open_and(server.id(), 1);
    let mut opening = world.command(["append", "orders"]);
    let mut opening = opening.stdin(Stdio::piped()).spawn().unwrap();
    opening.stdin.take().unwrap().write_all(b"one").unwrap();
    await_line(&log, "cannot");
    prlimit(Pid::from_raw(server.id() as i32), Resource::Nofile, limit).unwrap();
    let output = opening.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(world.ok(&["load", "orders", "--updates"]), b"one");
    drop((server, ready));
}

/// However few descriptors there are: done, or one line.
#[test]
fn commands_without_descriptors_say_so() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(&["save", "orders"], b"state");
    for descriptors in [4, 5, 6, 7, 8, 10, 13] {
        let limit = format!("-n {descriptors}");
        let arguments = ["--retry-for", "500ms", "load", "orders"];
        let outcome = ends_well(&mut world.limited(&limit, &arguments), &[0, 1, 9, 10]);
        assert!(outcome.code != 0 || outcome.stdout == b"state");
    }
}

/// So do servers: ready, or one line, and a medium that the next one takes.
#[test]
fn servers_without_descriptors_say_so() {
    let world = World::new();
    let media = format!("file:{},size=64MiB", world.medium().display());
    for descriptors in [4, 8, 10, 11, 12, 14, 16, 18, 20] {
        let limit = format!("-n {descriptors}");
        let arguments = [
            "serve",
            "--media",
            &media,
            "--control",
            "127.0.0.1:0",
            "--data",
            "127.0.0.1:0",
        ];
        let mut command = world.limited(&limit, &arguments);
        // Ready is what is waited for: then it is told to end.
        command.args(["--json"]);
        let log = world.path("log");
        command.stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let ended = await_end_or_ready(&mut child);
        let said = fs::read_to_string(&log).unwrap();
        assert!(!said.contains("panicked"), "{descriptors}: {said}");
        if let Some(code) = ended {
            assert!([1, 9, 12].contains(&code), "{descriptors}: {code} {said}");
            let last = said.lines().last().unwrap_or_default();
            assert!(last.starts_with("{\"error\""), "{descriptors}: {said}");
        }
    }
    world.serve().stop();
}

fn await_end_or_ready(child: &mut Child) -> Option<i32> {
    use std::io::{BufRead, BufReader};
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    if line.is_empty() {
        return Some(child.wait().unwrap().code().expect("no signal ended it"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

pub(crate) fn serve_with_log(world: &World, log: &Path) -> (Process, serde_json::Value) {
    let media = format!("file:{},size=64MiB", world.medium().display());
    let arguments = [
        "serve",
        "--json",
        "--media",
        &media,
        "--control",
        "127.0.0.1:0",
        "--data",
        "127.0.0.1:0",
    ];
    let server = Process::start_logging(world.command(arguments), log);
    let ready = server.json_line();
    (server, ready)
}

fn append_lines(world: &World) -> (Child, std::process::ChildStdin) {
    let mut command = world.command(["append", "orders", "--lines"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

fn await_owner(world: &World) {
    await_bytes(&world.medium(), b"before");
}

pub(crate) fn await_bytes(file: &Path, bytes: &[u8]) {
    await_that(|| {
        let there = fs::read(file).unwrap();
        there.windows(bytes.len()).any(|window| window == bytes)
    });
}

pub(crate) fn await_line(log: &Path, text: &str) {
    await_that(|| fs::read_to_string(log).unwrap().contains(text));
}

fn await_that(mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the limit that it had.
fn limit_to_what_is_open(process: u32) -> Rlimit {
    limit_to_what_is_open_and(process, 0)
}

/// From now on only so many more, those numbers that are free below the highest included.
fn limit_to_what_is_open_and(process: u32, more: usize) -> Rlimit {
    let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let numbers: BTreeSet<u64> = numbers.map(|number| number.parse().unwrap()).collect();
    let free = (0..).filter(|number| !numbers.contains(number)).nth(more);
    let limit = Rlimit {
        current: free,
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(Pid::from_raw(process as i32), Resource::Nofile, limit).unwrap()
}

/// Processor time that a process's threads have used.
fn processor_ms(process: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let spent = threads.map(|thread| {
        // One may have ended meanwhile.
        let text = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
        text.split_whitespace()
            .next()
            .map_or(0, |ns| ns.parse::<u64>().unwrap())
    });
    spent.sum::<u64>() / 1_000_000
}
