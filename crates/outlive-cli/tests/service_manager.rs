//! Under a service manager: it is told when the server serves and when it ends (NOTIFY_SOCKET), and root is not needed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use support::{Process, World};

/// Where a service manager listens.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn at(world: &World) -> Self {
        let socket = UnixDatagram::bind(world.path("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { socket }
    }

    fn message(&self) -> String {
        let mut bytes = [0; 4096];
        let len = self.socket.recv(&mut bytes).expect("told in time");
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }
}

#[test]
fn serve_tells_when_it_is_ready_and_when_it_stops() {
    let world = World::in_memory();
    let manager = Manager::at(&world);
    let arguments = "serve --json --media memory:size=16MiB --control 127.0.0.1:0 --data 127.0.0.1:0";
    let mut command = world.command(arguments.split(' '));
    command.env("NOTIFY_SOCKET", world.path("notify"));
    let mut serve = Process::start(command);
    let told = manager.message();
    assert!(told.lines().any(|line| line == "READY=1"), "{told}");
    // Ready means ready: this command tries once.
    world.ok(&["status", "--retry-for", "0s"]);
    assert_eq!(serve.json_line()["event"], "ready");

    serve.signal(rustix::process::Signal::TERM);
    let told = manager.message();
    assert!(told.lines().any(|line| line == "STOPPING=1"), "{told}");
    assert_eq!(serve.wait(), 0);
}

#[test]
fn nobody_to_tell_and_nobody_who_listens_are_no_failure() {
    let world = World::in_memory();
    let arguments = "serve --json --media memory:size=16MiB --control 127.0.0.1:0 --data 127.0.0.1:0";
    let mut command = world.command(arguments.split(' '));
    command.env("NOTIFY_SOCKET", world.path("nobody"));
    let mut serve = Process::start(command);
    assert_eq!(serve.json_line()["event"], "ready");
    serve.signal(rustix::process::Signal::TERM);
    assert_eq!(serve.wait(), 0);
}

#[test]
fn nothing_of_it_needs_root() {
    let world = World::new();
    let trust = world.path("trust");
    let media = format!("file:{},size=16MiB", world.medium().display());
    let run = Unprivileged::in_the_place_of(&world);
    let trust = trust.to_str().unwrap();
    let any = "127.0.0.1:0";
    let unit = run.start(&[
        "unit", "--json", "--media", &media, "--admin", any, "--data", any, "--trust", trust,
    ]);
    let admin = unit.json_line()["admin"].as_str().unwrap().to_owned();
    let manager = run.start(&[
        "manager",
        "--json",
        "--unit",
        &admin,
        "--control",
        any,
        "--trust",
        trust,
    ]);
    assert_eq!(manager.json_line()["event"], "ready");
    world.ok(&["region", "create", "orders", "--size", "1MiB"]);
    world.ok_with_input(&["save", "orders"], b"saved");
    for process in [&unit, &manager] {
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_ne!(field("Uid:"), "0");
        assert_eq!(field("CapEff:"), "0000000000000000");
    }
    for mut process in [manager, unit] {
        process.signal(rustix::process::Signal::TERM);
        assert_eq!(process.wait(), 0);
    }
}

/// Runs `outlive` as nobody, where the tests themselves are root.
struct Unprivileged<'a> {
    world: &'a World,
    program: PathBuf,
    account: Option<u32>,
}

impl<'a> Unprivileged<'a> {
    const NOBODY: u32 = 65534;

    fn in_the_place_of(world: &'a World) -> Self {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_outlive"));
        if !rustix::process::geteuid().is_root() {
            return Self {
                world,
                program,
                account: None,
            };
        }
        // Where it was built, others may not look.
        let reachable = world.path("outlive");
        fs::copy(program, &reachable).unwrap();
        let folder = reachable.parent().unwrap();
        std::os::unix::fs::chown(folder, Some(Self::NOBODY), Some(Self::NOBODY)).unwrap();
        Self {
            world,
            program: reachable,
            account: Some(Self::NOBODY),
        }
    }

    fn start(&self, arguments: &[&str]) -> Process {
        let mut command = self.world.on(Command::new(&self.program), arguments);
        if let Some(account) = self.account {
            command.uid(account).gid(account);
        }
        Process::start(command)
    }
}
