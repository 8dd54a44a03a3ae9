//! What the system can run out of, or take away: descriptors, threads, memory, disk space, media, terminals. Whatever
//! it is, whoever hits it says so in one line, nothing ends that need not, and it goes on when there is enough again.
//! Limits are set at the border of the process (`ulimit`, `prlimit`, a full `tmpfs`), on the real programs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod descriptors;
mod disk;
mod media;
mod memory;
mod terminals;
mod threads;

use std::ffi::OsString;
use std::process::Command;

use support::{Outcome, World};

impl World {
    /// `outlive` under a limit that `ulimit` sets, in the words of `ulimit`.
    fn limited(&self, limit: &str, arguments: &[&str]) -> Command {
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        self.wrapped("sh", &["-c", &script], arguments)
    }

    /// `outlive` started by another program.
    fn wrapped(&self, program: &str, before: &[&str], arguments: &[&str]) -> Command {
        let plain = self.command(arguments);
        let mut command = self.on(Command::new(program), before);
        command.arg(plain.get_program());
        command.args(plain.get_args().map(OsString::from));
        command
    }
}

/// Runs it to its end, which must be one of these: done, or one line about what is missing. Never a panic, never an abort.
fn ends_well(command: &mut Command, codes: &[i32]) -> Outcome {
    use std::os::unix::process::ExitStatusExt;
    let output = command.output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().unwrap_or_else(|| {
        let signal = output.status.signal();
        panic!("{command:?} was ended by signal {signal:?}: {stderr}")
    });
    assert!(codes.contains(&code), "{command:?} ended with {code}: {stderr}");
    assert!(!stderr.contains("panicked"), "{command:?}: {stderr}");
    let lines = stderr.lines().count();
    assert!(lines <= 1 || code == 0, "{command:?} said {stderr}");
    assert!(
        code == 0 || !stderr.is_empty(),
        "{command:?} failed and said nothing"
    );
    Outcome {
        code,
        stdout: output.stdout,
        stderr,
    }
}

/// Says why a test is not run, for those who look.
fn skipped(why: &str) {
    println!("skipped: {why}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
