//! Members of the pair, as real processes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::views::micros;

/// Name of the pair and of its region.
pub(crate) const PAIR: &str = "demo";
/// A member that takes longer for anything than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest time in which Ctrl-C goes unnoticed.
const NOTICE_INTERRUPT: Duration = Duration::from_millis(50);
/// Lines of a member's log that are told when it fails.
const LOG_LINES: usize = 3;

/// One member; killed when dropped. Starts and lives with the thread that spawned it: the kernel kills it when
/// that thread ends.
pub(crate) struct Member {
    child: Child,
    events: Receiver<(Instant, Event)>,
    address: String,
    log: PathBuf,
}

/// Where and how members are started.
pub(crate) struct MemberOptions<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) context: &'a Path,
    /// Size of the pair's region.
    pub(crate) region_bytes: u64,
    /// Takeovers that must not count as a crash loop.
    pub(crate) kills: u32,
}

/// What a member prints.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Listening {
        address: String,
    },
    Role {
        role: String,
        stopped: Option<String>,
        takeover: Option<Figures>,
    },
}

/// What a takeover took, by the member's own certificate.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Figures {
    pub(crate) generation: u64,
    /// By the member's own knowledge: a connection that broke is noticed at once, whenever its process died. The play
    /// replaces it by the time since the kill.
    pub(crate) detect_us: u64,
    pub(crate) fence_us: u64,
    pub(crate) read_us: u64,
    pub(crate) resume_us: u64,
    pub(crate) unread_sets: u64,
    pub(crate) unread_bytes: u64,
}

impl Figures {
    /// From the suspicion to serving.
    fn after_detection_us(&self) -> u64 {
        self.fence_us + self.read_us + self.resume_us
    }

    /// Measured from outside: `served` after the kill the new primary said that it serves; what its own steps do
    /// not account for was spent on noticing.
    pub(crate) fn detected_after_kill(mut self, served: Duration) -> Self {
        self.detect_us = micros(served).saturating_sub(self.after_detection_us());
        self
    }
}

impl Member {
    /// Starts a member on `address` and waits until it listens.
    pub(crate) fn start(
        number: u32,
        address: &str,
        options: &MemberOptions<'_>,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let cannot = |what: &str, error: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Failure,
                format!("cannot {what} of member {number}: {error}"),
            )
        };
        let log = options.folder.join(format!("member-{number}.log"));
        let log_file = File::create(&log).map_err(|error| cannot("make the log", &error))?;
        let program = std::env::current_exe().map_err(|error| cannot("find the program", &error))?;
        let mut child = Command::new(program)
            .args(["kv", "--json", "--pair", PAIR, "--listen", address])
            .args(["--size", &options.region_bytes.to_string()])
            .args(["--crash-loop", &options.kills.saturating_add(10).to_string()])
            .args(["--die-with-parent", &std::process::id().to_string()])
            .arg("--context")
            .arg(options.context)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            // Ctrl-C at the terminal is for the demo alone, which then ends its members.
            .process_group(0)
            .spawn()
            .map_err(|error| cannot("start the process", &error))?;
        let stdout = child.stdout.take().expect("its standard output was asked for");
        let (sender, events) = channel();
        let reading = std::thread::Builder::new().spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str(&line) else {
                    continue;
                };
                if sender.send((Instant::now(), event)).is_err() {
                    break;
                }
            }
        });
        if let Err(error) = reading {
            // Nobody else ends it.
            let _ = child.kill();
            let _ = child.wait();
            return Err(cannot("start a thread for the process's output", &error));
        }
        let mut member = Self {
            child,
            events,
            address: String::new(),
            log,
        };
        while member.address.is_empty() {
            if let (_, Event::Listening { address }) = member.event("listen", interrupt)? {
                member.address = address;
            }
        }
        Ok(member)
    }

    /// Where its clients reach it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it is backup.
    pub(crate) fn await_backup(&self, interrupt: &Interrupt) -> Result<(), Failure> {
        self.await_role("backup", interrupt).map(|_| ())
    }

    /// Waits until it is primary; returns when it said so, and the figures of the takeover that made it so, if one did.
    pub(crate) fn await_primary(&self, interrupt: &Interrupt) -> Result<(Instant, Option<Figures>), Failure> {
        self.await_role("primary", interrupt)
    }

    fn await_role(&self, wanted: &str, interrupt: &Interrupt) -> Result<(Instant, Option<Figures>), Failure> {
        loop {
            if let (
                at,
                Event::Role {
                    role,
                    stopped,
                    takeover,
                },
            ) = self.event(&format!("become {wanted}"), interrupt)?
            {
                if role == wanted {
                    return Ok((at, takeover));
                }
                if let Some(why) = stopped {
                    return Err(self.failed(&format!("stopped: {why}")));
                }
            }
        }
    }

    /// The next thing that it says, and when it said it.
    fn event(&self, awaited: &str, interrupt: &Interrupt) -> Result<(Instant, Event), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            interrupt.check()?;
            match self.events.recv_timeout(NOTICE_INTERRUPT) {
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Disconnected) => return Err(self.failed("ended by itself")),
                Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    return Err(self.failed(&format!("did not {awaited} within {} s", PATIENCE.as_secs())));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(&mut self) {
        // Neither fails but for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn failed(&self, how: &str) -> Failure {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let mut last = VecDeque::new();
        for line in text.lines() {
            if last.len() == LOG_LINES {
                last.pop_front();
            }
            last.push_back(line);
        }
        let said = last.into_iter().collect::<Vec<_>>().join(" / ");
        Failure::new(Exit::Failure, format!("member at {} {how}", self.address)).and(&said)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noticing_took_what_the_steps_do_not_account_for() {
        let figures = Figures {
            detect_us: 1,
            fence_us: 20,
            read_us: 30,
            resume_us: 50,
            ..Figures::default()
        };
        let detected = |served_us| {
            figures
                .clone()
                .detected_after_kill(Duration::from_micros(served_us))
                .detect_us
        };
        assert_eq!(detected(350), 250);
        assert_eq!(detected(10), 0);
    }
}
