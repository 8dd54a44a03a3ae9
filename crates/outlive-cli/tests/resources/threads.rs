//! Threads.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::World;
use crate::{ends_well, is_root, skipped};

/// However few threads there may be: ready, or one line; never a panic.
#[test]
fn servers_and_commands_without_threads_say_so() {
    // A limit on threads counts all of a user's, and the superuser has none.
    if !is_root() {
        return skipped("only the superuser can run processes as a user of their own");
    }
    let user = User::new();
    let media = format!("file:{},size=64MiB", user.world.medium().display());
    for threads in 1..=9 {
        let mut command = user.command(threads);
        command.args([
            "serve",
            "--json",
            "--media",
            &media,
            "--control",
            "127.0.0.1:0",
            "--data",
            "127.0.0.1:0",
        ]);
        let log = user.world.path("log");
        let mut child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        let said = fs::read_to_string(&log).unwrap();
        assert!(!said.contains("panicked"), "{threads}: {said}");
        if line.is_empty() {
            let code = child.wait().unwrap().code().expect("no signal ended it");
            assert!([1, 12].contains(&code), "{threads}: {code} {said}");
            assert_eq!(
                said.lines().last().map(|line| line.starts_with("{\"error\"")),
                Some(true),
                "{said}"
            );
            assert!(
                !said.contains("damaged"),
                "nothing is wrong with the medium: {said}"
            );
        } else {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    for threads in 1..=4 {
        let mut command = user.command(threads);
        command.args(["--retry-for", "500ms", "status"]);
        // There is no server: what counts is that it comes to say so.
        ends_well(&mut command, &[1, 9, 10]);
    }
}

/// A user with a world, whose processes are counted by themselves.
struct User {
    id: u32,
    world: World,
    program: PathBuf,
}

impl User {
    fn new() -> Self {
        let world = World::new();
        let id = 40_000 + std::process::id() % 20_000;
        let program = world.path("outlive");
        fs::copy(env!("CARGO_BIN_EXE_outlive"), &program).unwrap();
        chown(program.parent().unwrap(), Some(id), Some(id)).unwrap();
        Self { id, world, program }
    }

    /// `outlive` as this user, with so many threads at most.
    fn command(&self, threads: u32) -> Command {
        let id = self.id.to_string();
        let identity = ["--reuid", &id, "--regid", &id, "--clear-groups"];
        let mut command = Command::new("setpriv");
        command
            .args(identity)
            .args(["prlimit", &format!("--nproc={threads}")])
            .arg(&self.program)
            .env("OUTLIVE_CONTEXT", self.world.path("context.json"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}
