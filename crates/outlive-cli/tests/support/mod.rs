//! Real processes for tests: a folder of their own, a server, commands. Whatever is started here is
//! killed, by its process id, when the test ends.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes this long; whatever does hangs.
const HANGS: Duration = Duration::from_secs(60);

/// A place with a context file and a medium of its own.
pub(crate) struct World {
    folder: TempDir,
    media: String,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// A process that dies with the test.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

/// A running `outlive serve`.
pub(crate) struct Serve {
    pub(crate) process: Process,
    pub(crate) ready: Value,
}

impl World {
    /// On a file of 64 MiB.
    pub(crate) fn new() -> Self {
        Self::with_media("64MiB")
    }

    pub(crate) fn with_media(size: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let media = format!("file:{},size={size}", folder.path().join("unit.media").display());
        Self { folder, media }
    }

    /// On memory, which ends with its server.
    pub(crate) fn in_memory() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self {
            folder,
            media: "memory:size=64MiB".to_owned(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The server's certificates and keys.
    pub(crate) fn trust(&self) -> PathBuf {
        let on_file = self.media.starts_with("file:");
        self.path(if on_file {
            "unit.media.trust"
        } else {
            "context.json.trust"
        })
    }

    pub(crate) fn medium(&self) -> PathBuf {
        self.path("unit.media")
    }

    /// `outlive`, finding its context here.
    pub(crate) fn command<A: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = self.on(Command::new(env!("CARGO_BIN_EXE_outlive")), &[]);
        command.args(arguments);
        command
    }

    /// Gives a command that begins to run `outlive` its arguments, its context here, and pipes.
    pub(crate) fn on(&self, mut command: Command, arguments: &[&str]) -> Command {
        command
            .args(arguments)
            .env("OUTLIVE_CONTEXT", self.path("context.json"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a server on free ports and waits until it is ready.
    pub(crate) fn serve(&self) -> Serve {
        self.serve_on("127.0.0.1:0", "127.0.0.1:0", &[])
    }

    /// Starts a server on a free port for control, and this address for data, with more arguments.
    pub(crate) fn serve_at(&self, data: &str, more: &[&str]) -> Serve {
        self.serve_on("127.0.0.1:0", data, more)
    }

    /// Starts a server again, where the one before was.
    pub(crate) fn serve_again(&self, before: &Value) -> Serve {
        let address = |name: &str| before[name].as_str().expect("an address").to_owned();
        self.serve_on(&address("control"), &address("data"), &[])
    }

    fn serve_on(&self, control: &str, data: &str, more: &[&str]) -> Serve {
        let arguments = [
            "serve",
            "--json",
            "--media",
            &self.media,
            "--control",
            control,
            "--data",
            data,
            "--metrics",
            "127.0.0.1:0",
        ];
        let process = Process::start(self.command(arguments.iter().chain(more)));
        let ready = process.json_line();
        assert_eq!(ready["event"], "ready");
        Serve { process, ready }
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, b"")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("outlive starts");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        // A command that does not read its input closes the pipe: no concern of ours.
        std::thread::spawn(move || stdin.write_all(&input));
        finish(child, arguments)
    }

    /// Runs a command that must succeed; returns its standard output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Vec<u8> {
        self.ok_with_input(arguments, b"")
    }

    pub(crate) fn ok_with_input(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let outcome = self.run_with_input(arguments, input);
        assert_eq!(outcome.code, 0, "outlive {arguments:?}: {}", outcome.stderr);
        outcome.stdout
    }

    /// Runs a command that must succeed with `--json`; returns each line's value.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments = [arguments, &["--json"]].concat();
        let text = String::from_utf8(self.ok(&arguments)).expect("JSON is UTF-8");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a JSON value per line"))
            .collect()
    }

    /// Runs a command that must fail with this code and one line that contains `text`.
    pub(crate) fn fails(&self, arguments: &[&str], code: i32, text: &str) -> String {
        self.fails_with_input(arguments, b"", code, text)
    }

    pub(crate) fn fails_with_input(&self, arguments: &[&str], input: &[u8], code: i32, text: &str) -> String {
        let outcome = self.run_with_input(arguments, input);
        assert_eq!(outcome.code, code, "outlive {arguments:?}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "one line: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(text),
            "{text:?} is missing in: {}",
            outcome.stderr
        );
        outcome.stderr
    }
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Process {
    pub(crate) fn start(command: Command) -> Self {
        Self::start_with(command, Stdio::inherit())
    }

    /// What it says on standard error goes to this file.
    pub(crate) fn start_logging(command: Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("a file for what it says");
        Self::start_with(command, Stdio::from(log))
    }

    fn start_with(mut command: Command, stderr: Stdio) -> Self {
        let mut child = command.stderr(stderr).spawn().expect("the process starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line of its standard output; fails if there is none in time.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(HANGS).expect("a line of output")
    }

    pub(crate) fn json_line(&self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("a process id"), signal).expect("the process is there");
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the process is there");
        self.child.wait().expect("it ends");
    }

    /// Whether it has ended already.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("the process can be waited for")
            .is_some()
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(&mut self) -> i32 {
        await_end(&mut self.child, "a process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already; stopped processes take SIGKILL, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serve {
    /// What Prometheus would get.
    pub(crate) fn scrape(&self) -> String {
        let metrics = self.ready["metrics"].as_str().expect("an address");
        let address = metrics
            .strip_prefix("http://")
            .and_then(|url| url.strip_suffix("/metrics"));
        let address = address.expect("the path is known");
        let mut connection = std::net::TcpStream::connect(address).expect("it listens");
        connection.set_read_timeout(Some(HANGS)).expect("a time-out");
        write!(
            connection,
            "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("it answers");
        answer
    }

    /// Bytes that clients wrote to the unit since it was started.
    pub(crate) fn bytes_written(&self) -> u64 {
        let answer = self.scrape();
        let line = answer
            .lines()
            .find(|line| line.starts_with("outlive_unit_written_bytes_total{"));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.expect("the counter is there").parse().expect("a number")
    }

    /// SIGKILL; returns where it was, to start it again there.
    pub(crate) fn kill(self) -> Value {
        self.process.kill();
        self.ready
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(mut self) -> Value {
        self.process.signal(rustix::process::Signal::TERM);
        assert_eq!(self.process.wait(), 0);
        self.ready
    }
}

/// Bytes without a pattern, equal for equal seeds.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Flips every bit of one byte of a file.
pub(crate) fn flip(path: &Path, offset: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("the file opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("it is that long");
    file.write_all_at(&[!byte[0]], offset).expect("it can be written");
}

/// Where `needle` stands in a file.
pub(crate) fn find(path: &Path, needle: &[u8]) -> u64 {
    let bytes = std::fs::read(path).expect("the file can be read");
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("the bytes are in the file");
    at as u64
}

fn finish(mut child: Child, arguments: &[&str]) -> Outcome {
    let (mut stdout, mut stderr) = (
        child.stdout.take().expect("piped"),
        child.stderr.take().expect("piped"),
    );
    let read_stdout = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    let read_stderr = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).map(|_| bytes)
    });
    let code = await_end(&mut child, &format!("outlive {arguments:?}"));
    let stdout = read_stdout.join().expect("no panic").expect("output can be read");
    let stderr = read_stderr.join().expect("no panic").expect("output can be read");
    Outcome {
        code,
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// The exit code; ended by a signal: 128 and its number, as shells say it.
fn await_end(child: &mut Child, what: &str) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let deadline = Instant::now() + HANGS;
    loop {
        if let Some(status) = child.try_wait().expect("the process can be waited for") {
            return status
                .code()
                .unwrap_or_else(|| 128 + status.signal().expect("a signal ended it"));
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{what} hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
