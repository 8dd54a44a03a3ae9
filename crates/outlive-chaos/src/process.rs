//! One process under test: started, killed, stopped, continued, and started again when it has ended.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::Host;

/// A process that ended by itself is started again after this time, as a service manager would.
const START_AGAIN_AFTER: Duration = Duration::from_millis(300);
/// Whatever was asked to end has done so after this time, also when it cannot reach anybody.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// What runs, and where.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// `None`: on this host.
    pub(crate) host: Option<Host>,
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

/// A process that is meant to run, whether it does or not.
pub(crate) struct Process {
    program: Program,
    log: PathBuf,
    child: Option<Child>,
    paused: bool,
    /// When it is to be started, while it does not run; `None`: not by itself.
    start_at: Option<Instant>,
    told: Arc<Mutex<Told>>,
    asked_to_end: Option<Instant>,
    /// How it ended when nobody had asked it to, or otherwise than it should.
    pub(crate) ended_by_itself: Vec<String>,
}

/// What it said of itself, since its last start but for the takeovers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) ready: bool,
    pub(crate) role: String,
    pub(crate) takeovers: u64,
}

impl Program {
    /// The command, which dies with the thread that starts it and is out of the reach of the terminal's Ctrl-C.
    pub(crate) fn command(&self) -> Command {
        let inner = match &self.host {
            Some(host) => host.command(&self.path),
            None => Command::new(&self.path),
        };
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .process_group(0);
        command
    }
}

impl Process {
    pub(crate) fn new(program: Program, folder: &Path) -> Self {
        let log = folder.join(format!("{}.log", program.name));
        Self {
            program,
            log,
            child: None,
            paused: false,
            start_at: None,
            asked_to_end: None,
            told: Arc::default(),
            ended_by_itself: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.program.name
    }

    pub(crate) fn told(&self) -> Told {
        let told = lock(&self.told).clone();
        // One that was asked to end says nothing any more that will hold.
        match (&self.child, self.asked_to_end) {
            (Some(_), None) => told,
            _ => Told {
                takeovers: told.takeovers,
                ..Told::default()
            },
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it, unless it runs.
    pub(crate) fn start(&mut self) -> std::io::Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        writeln!(log, "--- {} started", unix_ms())?;
        let mut child = self
            .program
            .command()
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()?;
        let takeovers = lock(&self.told).takeovers;
        // Told by this start's lines only: the reader of the one before keeps what it has.
        self.told = Arc::new(Mutex::new(Told {
            takeovers,
            ..Told::default()
        }));
        if let Some(stdout) = child.stdout.take() {
            let told = self.told.clone();
            std::thread::spawn(move || listen(stdout, log, &told));
        }
        self.child = Some(child);
        self.paused = false;
        self.asked_to_end = None;
        self.start_at = None;
        Ok(())
    }

    /// Sends a signal, if it runs.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self
            .child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            // It is ours and not waited for yet, so the id is its own, though it may have ended.
            let _ = kill_process(id, signal);
        }
    }

    /// Ends it by SIGKILL; it is started again when the time has come.
    pub(crate) fn kill(&mut self, again_at: Option<Instant>) {
        if let Some(mut child) = self.child.take() {
            // It fails only where it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.asked_to_end = None;
        self.start_at = again_at;
    }

    /// Asks it to end; it is started again when it has, and the time has come.
    pub(crate) fn ask_to_end(&mut self, again_at: Instant) {
        if self.child.is_some() {
            self.signal(Signal::TERM);
            self.resume();
            self.asked_to_end = Some(Instant::now());
        }
        self.start_at = Some(again_at);
    }

    /// Asks it to end, and waits until it has. Returns how; `None`: it had to be killed, or did not run.
    pub(crate) fn stop(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        self.resume();
        self.start_at = None;
        let deadline = Instant::now() + ENDS_WITHIN;
        while let Some(child) = &mut self.child {
            if let Ok(Some(status)) = child.try_wait() {
                self.child = None;
                return Some(status);
            }
            if Instant::now() >= deadline {
                self.kill(None);
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Starts it at the next [tending](Self::tend), where it does not run.
    pub(crate) fn bring_back(&mut self) {
        self.resume();
        if self.start_at.is_some() {
            self.start_at = Some(Instant::now());
        }
    }

    pub(crate) fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.paused = true;
    }

    pub(crate) fn resume(&mut self) {
        if self.paused {
            self.signal(Signal::CONT);
            self.paused = false;
        }
    }

    /// Starts it where it should run by now and does not.
    pub(crate) fn tend(&mut self) -> std::io::Result<()> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            self.child = None;
            let asked = self.asked_to_end.take().is_some();
            // A process that is still starting does not catch the signal yet.
            if asked && (status.success() || status.signal() == Some(Signal::TERM.as_raw())) {
                return Ok(());
            }
            let how = match (status.code(), status.signal()) {
                (Some(code), _) => format!("code {code}: {}", last_line(&self.log)),
                (None, signal) => format!("signal {}", signal.unwrap_or(0)),
            };
            self.ended_by_itself.push(how);
            self.start_at = Some(Instant::now() + START_AGAIN_AFTER);
        }
        if self.child.is_some()
            && self
                .asked_to_end
                .is_some_and(|asked| asked.elapsed() > ENDS_WITHIN)
        {
            self.ended_by_itself.push(format!(
                "did not end within {} s of SIGTERM and was killed",
                ENDS_WITHIN.as_secs()
            ));
            self.kill(self.start_at);
        }
        match self.start_at {
            Some(at) if self.child.is_none() && Instant::now() >= at => self.start(),
            _ => Ok(()),
        }
    }

    /// Lines of its log that say that it panicked: that never happens, whatever is done to it.
    pub(crate) fn panics(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines()
            .filter(|line| line.contains("panicked at"))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill(None);
    }
}

/// Takes its lines until there are no more.
fn listen(stdout: impl std::io::Read, mut log: File, told: &Mutex<Told>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        // A log that cannot be written (full disk) is no reason to end.
        let _ = writeln!(log, "{} {line}", unix_ms());
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let mut told = lock(told);
        match event["event"].as_str() {
            Some("ready" | "listening") => told.ready = true,
            Some("role") => {
                event["role"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut told.role);
                if told.role == "primary" && !event["takeover"].is_null() {
                    told.takeovers += 1;
                }
            }
            _ => {}
        }
    }
}

fn unix_ms() -> u128 {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_millis())
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or_default().to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
