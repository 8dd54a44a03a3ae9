//! A primary in a process of its own, so that it can be killed: the test's own program, started again for one test.

use std::io::{BufRead, BufReader, Lines, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use outlive::{Context, Session};
use rustix::process::{Pid, Signal, kill_process};

use super::Server;

const CONTEXT: &str = "OUTLIVE_TEST_CHILD_CONTEXT";
const REGION: &str = "OUTLIVE_TEST_CHILD_REGION";
const READY: &str = "the child is ready";

/// The process, killed at the latest when it is dropped.
pub(crate) struct ChildPrimary {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _folder: tempfile::TempDir,
}

/// Starts the test of that name as a process, and waits until it says that it is ready.
pub(crate) fn start(test: &str, server: &Server, region: &str) -> ChildPrimary {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let context = folder.path().join("context.json");
    server.context().save(&context).expect("a context file");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(CONTEXT, &context)
        .env(REGION, region)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(
        lines.any(|line| line.is_ok_and(|line| line.contains(READY))),
        "the child ended before it was ready"
    );
    ChildPrimary {
        child,
        lines,
        _folder: folder,
    }
}

impl ChildPrimary {
    /// SIGSTOP.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it prints a line with this text.
    pub(crate) fn await_line(&mut self, text: &str) {
        let found = self.lines.any(|line| line.is_ok_and(|line| line.contains(text)));
        assert!(found, "the child ended without saying {text:?}");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(pid).expect("not 0"), signal).expect("signalled");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }
}

impl Drop for ChildPrimary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the child does; nothing in the parent. What `act` returns lives until the parent kills the process.
pub(crate) fn run<T>(act: impl FnOnce(&Session, &str) -> T) {
    let Some(context) = std::env::var_os(CONTEXT).map(PathBuf::from) else {
        return;
    };
    let region = std::env::var(REGION).expect("set with the context");
    let session = Session::connect(&Context::load(&context).expect("a context")).expect("a session");
    let kept = act(&session, &region);
    println!("\n{READY}");
    // Until the parent kills this process, or is gone itself.
    let _ = std::io::stdin().read(&mut [0]);
    drop(kept);
}
