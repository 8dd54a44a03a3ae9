//! A service manager is told when the server serves and when it ends (NOTIFY_SOCKET).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::unix::net::UnixDatagram;
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
