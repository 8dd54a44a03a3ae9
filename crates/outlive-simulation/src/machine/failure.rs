//! How a run fails.

use std::time::Duration;

use thiserror::Error;

/// Why a run gave no value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// A simulated thread panicked, in a process that had not been killed.
    #[error("thread {thread} of {process} panicked: {message}")]
    Panicked {
        /// The process's name.
        process: String,
        /// The thread's name.
        thread: String,
        /// The panic's text and where it was.
        message: String,
    },
    /// [`fail`](super::fail) was called.
    #[error("{kind}: {text}")]
    Broken {
        /// What kind of failure; shrinking keeps it.
        kind: String,
        /// What exactly happened.
        text: String,
    },
    /// Every thread waits for another.
    #[error("deadlock: no thread can ever run again\n{}", lines(threads))]
    Deadlock {
        /// Each thread by its number, and what it waits for.
        threads: Vec<(usize, String)>,
    },
    /// The run lasted longer than it may, in the machine's time.
    #[error("the run lasts longer than its limit\n{}", lines(threads))]
    TimeLimit {
        /// Each thread by its number, and what it waits for.
        threads: Vec<(usize, String)>,
    },
    /// A thread has kept the machine for this long in real time without asking it anything: it computes for ever, or is in a system call
    /// that nobody simulates.
    #[error("thread {thread} has kept the machine for {} s of real time", real.as_secs())]
    Stuck {
        /// The thread's name.
        thread: String,
        /// For how long.
        real: Duration,
    },
}

impl Failure {
    /// What kind of failure it is, without what differs from run to run.
    pub fn kind(&self) -> &str {
        match self {
            Self::Panicked { .. } => "panic",
            Self::Broken { kind, .. } => kind,
            Self::Deadlock { .. } => "deadlock",
            Self::TimeLimit { .. } => "time limit",
            Self::Stuck { .. } => "stuck",
        }
    }
}

impl Failure {
    /// Puts the names of its threads before what they wait for.
    pub(super) fn named(mut self, name: impl Fn(usize) -> String) -> Self {
        if let Self::Deadlock { threads } | Self::TimeLimit { threads } = &mut self {
            for (number, what) in threads {
                *what = format!("({}) {what}", name(*number));
            }
        }
        self
    }
}

fn lines(threads: &[(usize, String)]) -> String {
    let lines: Vec<String> = threads
        .iter()
        .map(|(number, what)| format!("  thread {number} {what}"))
        .collect();
    lines.join("\n")
}
