//! A deterministic machine for unmodified threads.
//!
//! [`run`] runs a program whose threads, locks, conditions, channels, sleeps, clocks, random numbers and tokio runtimes are the
//! real ones, and decides alone which of its threads runs: exactly one at a time, chosen anew by the seed wherever a thread waits,
//! wakes another or looks at a clock. Time is virtual: it passes a little with everything that is done, and jumps to
//! the next deadline when everybody waits. The same seed gives the same run, whose [`Outcome::digest`] covers every decision.
//!
//! It works by defining the C library's functions (see `interpose.rs`), so it works for Rust code on std and
//! tokio, on Linux with glibc. Not simulated: sockets, pipes and files, whose calls go to the system and block the whole machine;
//! system calls made without the C library; memory order between processors, as threads never run at the same time. A thread loses its turn
//! only at a call of the machine, never between two instructions.
//!
//! A program is divided into processes, each a group of threads with clocks of its own, which can be killed, stopped and continued. A killed thread
//! stops where it last lost its turn and drops nothing, so what processes share must not be held over such a point, or be held in [`uninterrupted`].
//!
//! After a run the threads that are left stay stopped for good, and statics keep their values: a run that is to be repeated has a
//! process of the operating system for itself.

mod calls;
mod chance;
mod failure;
mod interpose;
mod process;
mod real;
mod scheduler;
mod turn;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

pub use failure::Failure;
use scheduler::{Awaits, Scheduler};
use turn::Entered;

/// Set, it has every line given to [`trace`] printed on standard error; set to `turns`, also who gets each turn, with the digest so far: where two
/// runs of a seed part, so do these lines.
pub const TRACE_VARIABLE: &str = "OUTLIVE_TRACE";

/// How a run goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// A run that lasts longer, in the machine's time, fails.
    pub limit: Duration,
    /// A run fails when nothing is asked of the machine for so long, in real time.
    pub stall: Duration,
    /// The processor to stay on; by default the one on which the caller happens to run.
    pub processor: Option<usize>,
}

impl Options {
    /// The defaults: an hour of the machine's time, a minute without a sign of life.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            limit: Duration::from_secs(3600),
            stall: Duration::from_secs(60),
            processor: None,
        }
    }

    /// With another limit.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }
}

/// What a run came to.
#[derive(Debug)]
#[must_use]
pub struct Outcome<T> {
    /// What the main thread returned, or why it did not.
    pub result: Result<T, Failure>,
    /// Covers every decision of the machine and every line given to [`trace`].
    pub digest: u64,
    /// How long it lasted, in the machine's time.
    pub elapsed: Duration,
    /// How often another thread got the turn.
    pub switches: u64,
}

/// One simulated process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process(u32);

impl Process {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Runs `main` as the main thread of the first process. Everything that it starts is part of the machine; the run ends when it returns. One run at a
/// time: a second one, from another thread, waits.
///
/// # Panics
/// When it is called from within a run, or the thread cannot be started.
pub fn run<T: Send + 'static>(options: Options, main: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    static RUNS: AtomicU64 = AtomicU64::new(1);
    assert!(!turn::simulated(), "a run cannot be started from within a run");
    assert_ne!(
        interpose::defined(),
        0,
        "the machine's functions are part of the program"
    );
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    fail_runs_on_panics();
    real::stay_on(options.processor.unwrap_or_else(real::processor));
    let limit_ns = u64::try_from(options.limit.as_nanos()).unwrap_or(u64::MAX);
    let mut scheduler = Scheduler::new(options.seed, limit_ns, "main");
    let traced = std::env::var_os(TRACE_VARIABLE);
    scheduler.told = traced.as_ref().is_some_and(|what| what == "turns");
    let first = turn::set_up(RUNS.fetch_add(1, Ordering::Relaxed), scheduler, traced.is_some());
    let value = Arc::new(Mutex::new(None));
    let place = value.clone();
    let body = move || {
        turn::begin(&first);
        // A panic has ended the run by now: the hook does it.
        if let Ok(value) = catch_unwind(AssertUnwindSafe(main)) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        }
        if let Some(entered) = turn::enter() {
            entered.end_run(Ok(()));
        }
    };
    let _never_joined = thread::Builder::new()
        .name("main".into())
        .spawn(body)
        .expect("a thread can be started");
    let machine = turn::await_end(options.stall);
    let scheduler = machine.scheduler;
    let value = value.lock().unwrap_or_else(PoisonError::into_inner).take();
    let result = match machine.end {
        Some(Err(failure)) => Err(failure),
        _ => Ok(value.expect("a run that ended well has a value")),
    };
    Outcome {
        result,
        digest: scheduler.digest.value(),
        elapsed: process::duration(scheduler.now_ns),
        switches: scheduler.switches,
    }
}

/// Has a panic of a simulated thread end the run, there and then.
fn fail_runs_on_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let Some(mut entered) = turn::enter() else {
                return usual(panic);
            };
            let failure = Failure::Panicked {
                process: entered.scheduler().host().name.clone(),
                thread: thread::current().name().unwrap_or("without a name").to_owned(),
                message: match panic.location() {
                    Some(place) => format!("{} ({place})", panic.payload_as_str().unwrap_or("no text")),
                    None => panic.payload_as_str().unwrap_or("no text").to_owned(),
                },
            };
            // Only ended: the hook's lock must be given back. The thread stops where it next asks the machine.
            entered.end(Err(failure));
        }));
    });
}

fn machine() -> Entered {
    turn::enter().expect("only threads of a run may ask the machine")
}

/// Starts a process whose main thread runs `body`. Threads that it starts belong to it, and all end when `body` returns.
///
/// # Panics
/// Outside of a run, or when the thread cannot be started.
pub fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Process {
    let mut entered = machine();
    let host = entered.scheduler().add_host(name.to_owned());
    entered.machine().begins_in = Some(host);
    drop(entered);
    let process = Process(u32::try_from(host).expect("there are few processes"));
    let body = move || {
        body();
        kill(process);
    };
    let _never_joined = thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("a thread can be started");
    process
}

/// Ends a process as SIGKILL does: none of its threads runs again, nothing is dropped. Without effect on one that has ended.
///
/// # Panics
/// Outside of a run.
pub fn kill(process: Process) {
    let mut entered = machine();
    entered.scheduler().end_host(process.index());
    go_on_if_allowed(entered);
}

/// Stops a process as SIGSTOP does, until [`resume`].
///
/// # Panics
/// Outside of a run.
pub fn pause(process: Process) {
    let mut entered = machine();
    entered.scheduler().pause(process.index(), true);
    go_on_if_allowed(entered);
}

/// Continues a stopped process as SIGCONT does.
///
/// # Panics
/// Outside of a run.
pub fn resume(process: Process) {
    machine().scheduler().pause(process.index(), false);
}

/// Stops here if the calling thread's own process was killed or stopped.
fn go_on_if_allowed(mut entered: Entered) {
    if !entered.scheduler().may_go_on() {
        entered.give_way();
    }
}

/// Whether a process has ended: was killed, or its main thread has returned.
///
/// # Panics
/// Outside of a run.
pub fn ended(process: Process) -> bool {
    machine().scheduler().hosts[process.index()].ended
}

/// Waits for a process's end.
///
/// # Panics
/// Outside of a run.
pub fn wait(process: Process) {
    let mut entered = machine();
    if !entered.scheduler().hosts[process.index()].ended {
        entered.block(Awaits::Process(process.index()), None);
    }
}

/// The process that the calling thread belongs to.
///
/// # Panics
/// Outside of a run.
pub fn current() -> Process {
    let mut entered = machine();
    let scheduler = entered.scheduler();
    Process(u32::try_from(scheduler.host_of(scheduler.running)).expect("there are few processes"))
}

/// Sets a process's wall clock to so much before or after the true time.
///
/// # Panics
/// Outside of a run.
pub fn set_wall_clock(process: Process, offset_ms: i64) {
    machine().scheduler().hosts[process.index()].set_wall_offset_ms(offset_ms);
}

/// Lets a process's clocks run fast or slow by so many millionths, from now on. At least a tenth and at most ten times as fast.
///
/// # Panics
/// Outside of a run.
pub fn set_rate(process: Process, ppm: i64) {
    machine().scheduler().set_rate_ppm(process.index(), ppm);
}

/// The machine's own time since the run began. No clock of a process shows it, and asking costs nothing.
///
/// # Panics
/// Outside of a run.
pub fn now() -> Duration {
    process::duration(machine().scheduler().now_ns)
}

/// A number of the seed's choice.
///
/// # Panics
/// Outside of a run.
pub fn random() -> u64 {
    machine().scheduler().chance.draws.u64(..)
}

/// A number of the seed's choice that is smaller than `bound`.
///
/// # Panics
/// Outside of a run, or when `bound` is 0.
pub fn below(bound: u64) -> u64 {
    machine().scheduler().chance.draws.u64(..bound)
}

/// `true` with this probability.
///
/// # Panics
/// Outside of a run.
pub fn chance(probability: f64) -> bool {
    machine().scheduler().chance.draws.f64() < probability
}

/// Adds a line to the digest, and prints it when [`TRACE_VARIABLE`] is set.
///
/// # Panics
/// Outside of a run.
pub fn trace(line: impl FnOnce() -> String) {
    let line = line();
    let mut entered = machine();
    let scheduler = entered.scheduler();
    scheduler.digest.add_text(&line);
    if entered.machine().traced {
        let at = process::duration(entered.scheduler().now_ns);
        let process = entered.scheduler().host().name.clone();
        eprintln!("{at:>14.6?} {process}: {line}");
    }
}

/// Ends the run with a failure of this kind, and the calling thread with it.
///
/// # Panics
/// Outside of a run.
pub fn fail(kind: &str, text: &str) -> ! {
    machine().end_run(Err(Failure::Broken {
        kind: kind.to_owned(),
        text: text.to_owned(),
    }))
}

/// Runs `section` so that neither [`kill`] nor [`pause`] of the calling thread's process takes effect before its end: for what several processes
/// share, and must not be left locked.
///
/// # Panics
/// Outside of a run.
pub fn uninterrupted<T>(section: impl FnOnce() -> T) -> T {
    machine().scheduler().shield();
    let value = section();
    let mut entered = machine();
    if !entered.scheduler().unshield() {
        entered.give_way();
    }
    value
}
