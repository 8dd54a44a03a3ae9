//! One run in a process of its own: statics, and threads that are left over, end with it, so that every run begins alike.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::subject::{Broken, Report, Subject};

/// What the line with a run's report begins with.
const MARK: &str = "outlive-simulation-report ";
/// As much of what a broken run wrote on standard error is kept.
const KEPT_BYTES: usize = 16 << 10;

/// How runs are run.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    /// The deliberate bug to switch on.
    pub(super) bug: Option<String>,
    /// How long one may take in real time.
    pub(super) limit: Duration,
}

impl Runs {
    /// Runs a seed, with its own plan or another, in a new process.
    pub(super) fn run<P: Serialize>(&self, seed: u64, plan: Option<&P>) -> io::Result<Report> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["worker", "--seed", &seed.to_string()])
            .args(["--limit-s", &self.limit.as_secs().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(bug) = &self.bug {
            command.args(["--bug", bug]);
        }
        if let Some(plan) = plan {
            command.args(["--plan", &serde_json::to_string(plan)?]);
        }
        let mut child = command.spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let said = thread::spawn(move || tail(err));
        let printed = tail(out);
        let status = child.wait()?;
        let said = said.join().unwrap_or_default();
        let report = printed.lines().rev().find_map(|line| line.strip_prefix(MARK));
        if let Some(report) = report {
            return Ok(serde_json::from_str(report)?);
        }
        Ok(Report {
            broken: Some(Broken::new(
                "crash",
                format!("the process ended with {status}\n{said}"),
            )),
            ..Report::default()
        })
    }
}

/// The last of what comes, read to its end.
fn tail(from: Option<impl Read>) -> String {
    let (mut kept, mut chunk) = (Vec::new(), [0; 4096]);
    let Some(mut from) = from else {
        return String::new();
    };
    while let Ok(len @ 1..) = from.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..len]);
        if kept.len() > 2 * KEPT_BYTES {
            kept.drain(..kept.len() - KEPT_BYTES);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Runs one seed in this process and prints its report, for the process that started it.
pub(super) fn work<S: Subject>(
    subject: &S,
    seed: u64,
    plan: &S::Plan,
    bug: Option<&str>,
    limit: Duration,
) -> Report {
    let (done, ended) = mpsc::channel::<()>();
    // Outlives nothing: the process ends with either thread.
    thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            let text = format!("the run has taken more than {} s of real time", limit.as_secs());
            print(&Report {
                broken: Some(Broken::new("real time limit", text)),
                ..Report::default()
            });
            std::process::exit(1);
        }
    });
    let report = subject.run(seed, plan, bug);
    drop(done);
    report
}

/// Prints a report as [`Runs::run`] reads it.
pub(super) fn print(report: &Report) {
    let text = serde_json::to_string(report).expect("a report has only names and numbers");
    println!("{MARK}{text}");
}
