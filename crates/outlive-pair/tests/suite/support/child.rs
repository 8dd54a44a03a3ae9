//! A member in a process of its own, so that it can be killed or stopped: the test's own program, started
//! again for one test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use outlive::{Context, Session};

use super::Server;

const CONTEXT: &str = "OUTLIVE_TEST_CHILD_CONTEXT";
const READY: &str = "the child says: ";

/// The process, killed at the latest when it is dropped.
pub struct ChildMember {
    child: Child,
    input: ChildStdin,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    _folder: tempfile::TempDir,
}

/// Starts the test of that name as a process.
pub fn start(test: &str, server: &Server) -> ChildMember {
    let (folder, context) = super::temporary_context(server);
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(CONTEXT, &context)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let input = child.stdin.take().expect("piped");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    ChildMember {
        child,
        input,
        lines,
        _folder: folder,
    }
}

impl ChildMember {
    /// What the child says next.
    pub fn hear(&mut self) -> String {
        for line in self.lines.by_ref() {
            let line = line.expect("text");
            if let Some((_, said)) = line.split_once(READY) {
                return said.to_owned();
            }
        }
        panic!("the child ended");
    }

    /// A line for the child to read.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the child reads");
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().expect("kill");
        assert!(status.success());
    }
}

impl Drop for ChildMember {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: its session. `None` in the parent.
pub fn session() -> Option<Session> {
    let context = std::env::var_os(CONTEXT).map(PathBuf::from)?;
    Some(super::session(&Context::load(&context).expect("a context")))
}

/// In the child: tells the parent.
pub fn say(what: impl std::fmt::Display) {
    println!("\n{READY}{what}");
}

/// In the child: waits until the parent says something (or is gone), and returns it.
pub fn listen() -> String {
    let mut line = Vec::new();
    for byte in std::io::stdin().lock().bytes() {
        match byte {
            Ok(b'\n') | Err(_) => break,
            Ok(byte) => line.push(byte),
        }
    }
    String::from_utf8(line).expect("text")
}
