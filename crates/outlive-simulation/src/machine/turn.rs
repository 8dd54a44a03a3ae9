//! The turn: exactly one simulated thread has it. Here real threads meet the scheduler.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::failure::Failure;
use super::scheduler::{Awaits, Cause, Descriptors, Scheduler, ThreadNumber};
use super::{interpose, real};

/// Writes to descriptors by simulated threads.
static WRITES: AtomicU64 = AtomicU64::new(0);
static MACHINE: Mutex<Option<Machine>> = Mutex::new(None);
static ENDED: Condvar = Condvar::new();

thread_local! {
    /// Which thread of which run this is; `None` outside of any.
    static ME: Cell<Option<Me>> = const { Cell::new(None) };
    /// Inside the machine's own code, whose system calls are real.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

#[derive(Clone, Copy)]
struct Me {
    run: u64,
    number: ThreadNumber,
}

pub(super) struct Machine {
    run: u64,
    pub(super) scheduler: Scheduler,
    gates: Vec<Arc<Gate>>,
    /// Threads by their handles, until they are joined.
    pub(super) handles: BTreeMap<usize, ThreadNumber>,
    /// The process that the running thread's next thread will be the main thread of.
    pub(super) begins_in: Option<usize>,
    pub(super) end: Option<Result<(), Failure>>,
    pub(super) traced: bool,
}

/// Where a thread waits for its turn.
#[derive(Default)]
pub(super) struct Gate {
    turn: AtomicU32,
    os_thread: AtomicI32,
}

const NO_TURN: u32 = 0;
const TURN: u32 = 1;
const TURN_BY_TIME: u32 = 2;

impl Gate {
    fn open(&self, cause: Cause) {
        let turn = match cause {
            Cause::Woken => TURN,
            Cause::TimedOut => TURN_BY_TIME,
        };
        self.turn.store(turn, Ordering::Release);
        real::wake(&self.turn);
    }

    fn pass(&self) -> Cause {
        loop {
            match self.turn.swap(NO_TURN, Ordering::Acquire) {
                TURN => return Cause::Woken,
                TURN_BY_TIME => return Cause::TimedOut,
                _ => real::wait_on(&self.turn, NO_TURN),
            }
        }
    }
}

/// The machine, held by the thread whose turn it is.
pub(super) struct Entered {
    me: Me,
    guard: Option<MutexGuard<'static, Option<Machine>>>,
}

/// Whether the calling thread is simulated, and not in the machine's own code.
pub(super) fn simulated() -> bool {
    ME.get().is_some() && !INSIDE.get()
}

/// Enters the machine, from a simulated thread. A thread of a run that is over stops here for good.
pub(super) fn enter() -> Option<Entered> {
    let me = ME.get()?;
    if INSIDE.replace(true) {
        return None;
    }
    let mut guard = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    match guard.as_mut() {
        Some(machine) if machine.run == me.run && machine.end.is_none() => machine.scheduler.calls += 1,
        _ => {
            drop(guard);
            freeze();
        }
    }
    Some(Entered {
        me,
        guard: Some(guard),
    })
}

impl Entered {
    pub(super) fn machine(&mut self) -> &mut Machine {
        let machine = self.guard.as_mut().and_then(|guard| guard.as_mut());
        machine.expect("the machine is there while somebody has entered it")
    }

    pub(super) fn scheduler(&mut self) -> &mut Scheduler {
        &mut self.machine().scheduler
    }

    /// Now and then lets another thread run.
    pub(super) fn maybe_give_way(mut self) {
        let scheduler = self.scheduler();
        if scheduler.others_could_run() && scheduler.chance.preempts() {
            self.give_way();
        }
    }

    /// Lets the seed choose who runs next, oneself included.
    pub(super) fn give_way(mut self) {
        self.scheduler().give_way();
        self.switch();
    }

    /// Waits.
    pub(super) fn block(mut self, awaits: Awaits, deadline_ns: Option<u64>) -> Cause {
        self.scheduler().block(awaits, deadline_ns);
        self.switch()
    }

    /// Hands the turn on, and returns when it comes back.
    fn switch(mut self) -> Cause {
        let number = self.me.number;
        match self.hand_on() {
            Handed::Back(cause) => cause,
            Handed::To(next, cause) => {
                let mine = self.machine().gates[number].clone();
                self.guard = None;
                next.open(cause);
                mine.pass()
            }
            Handed::Over => {
                self.guard = None;
                freeze();
            }
        }
    }

    fn hand_on(&mut self) -> Handed {
        let number = self.me.number;
        let machine = self.machine();
        match machine.scheduler.pick(&Outside) {
            Ok((next, cause)) if next == number => Handed::Back(cause),
            Ok((next, cause)) => Handed::To(machine.gates[next].clone(), cause),
            Err(failure) => {
                let named = failure.named(|number| machine.thread_name(number));
                self.end(Err(named));
                Handed::Over
            }
        }
    }

    /// Ends the run. The calling thread goes on until it next asks the machine anything.
    pub(super) fn end(&mut self, how: Result<(), Failure>) {
        self.machine().end.get_or_insert(how);
        ENDED.notify_all();
    }

    /// Ends the run, and with it the calling thread.
    pub(super) fn end_run(mut self, how: Result<(), Failure>) -> ! {
        self.end(how);
        self.guard = None;
        freeze()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.guard = None;
        INSIDE.set(false);
    }
}

enum Handed {
    Back(Cause),
    To(Arc<Gate>, Cause),
    Over,
}

struct Outside;

impl Descriptors for Outside {
    fn writes(&self) -> u64 {
        WRITES.load(Ordering::Relaxed)
    }

    fn readable(&self, descriptors: &[i32]) -> Vec<bool> {
        interpose::readable(descriptors)
    }
}

/// Stops the calling thread for good: nothing wakes it, and it holds nothing of the machine's.
fn freeze() -> ! {
    static NEVER: AtomicU32 = AtomicU32::new(0);
    INSIDE.set(true);
    loop {
        real::wait_on(&NEVER, 0);
    }
}

/// A simulated thread has written to a descriptor.
pub(super) fn note_write() {
    WRITES.fetch_add(1, Ordering::Relaxed);
}

/// A simulated thread that is about to begin.
pub(super) struct Birth {
    me: Me,
    gate: Arc<Gate>,
}

impl Birth {
    pub(super) fn number(&self) -> ThreadNumber {
        self.me.number
    }

    /// Makes the calling thread that thread, and waits for its first turn.
    pub(super) fn adopt(self) {
        self.adopt_running();
        INSIDE.set(true);
        self.gate.pass();
        INSIDE.set(false);
    }

    fn adopt_running(&self) {
        self.gate.os_thread.store(real::os_thread(), Ordering::Relaxed);
        ME.set(Some(self.me));
    }
}

/// The calling thread is about to start another; `None` when it is not simulated.
pub(super) fn birth() -> Option<Birth> {
    let mut entered = enter()?;
    let machine = entered.machine();
    let host = machine.begins_in.take();
    let host = host.unwrap_or_else(|| machine.scheduler.host_of(machine.scheduler.running));
    let number = machine.scheduler.add_thread(host);
    let gate = Arc::new(Gate::default());
    machine.gates.push(gate.clone());
    Some(Birth {
        me: Me {
            run: machine.run,
            number,
        },
        gate,
    })
}

/// The calling thread ends: hands the turn on and is simulated no more.
pub(super) fn thread_ends() {
    let Some(mut entered) = enter() else { return };
    entered.scheduler().end_thread();
    if let Handed::To(next, cause) = entered.hand_on() {
        entered.guard = None;
        next.open(cause);
    }
    drop(entered);
    ME.set(None);
}

/// Sets up a run, whose main thread calls [`Birth`]'s `adopt` through [`begin`].
pub(super) fn set_up(run: u64, scheduler: Scheduler, traced: bool) -> Birth {
    let gate = Arc::new(Gate::default());
    let machine = Machine {
        run,
        scheduler,
        gates: vec![gate.clone()],
        handles: BTreeMap::new(),
        begins_in: None,
        end: None,
        traced,
    };
    *MACHINE.lock().unwrap_or_else(PoisonError::into_inner) = Some(machine);
    Birth {
        me: Me { run, number: 0 },
        gate,
    }
}

/// Makes the calling thread the run's first, whose turn it is.
pub(super) fn begin(birth: &Birth) {
    birth.adopt_running();
}

/// Waits in real time until the run is over, and takes the machine.
pub(super) fn await_end(stall: Duration) -> Machine {
    let mut guard = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut calls, mut quiet) = (0, Duration::ZERO);
    let look = (stall / 4).max(Duration::from_millis(10));
    loop {
        if let Some(machine) = guard.as_mut() {
            if machine.end.is_some() {
                break;
            }
            if quiet >= stall {
                let running = machine.scheduler.running;
                let thread = machine.thread_name(running);
                machine.end = Some(Err(Failure::Stuck { thread, real: quiet }));
                break;
            }
        }
        let (woken, result) = ENDED
            .wait_timeout(guard, look)
            .unwrap_or_else(PoisonError::into_inner);
        guard = woken;
        let now = guard.as_ref().map_or(0, |machine| machine.scheduler.calls);
        quiet = if result.timed_out() && now == calls {
            quiet + look
        } else {
            Duration::ZERO
        };
        calls = now;
    }
    guard.take().expect("nobody else takes the machine")
}

impl Machine {
    /// A thread's name as the system knows it, at most 15 characters.
    pub(super) fn thread_name(&self, number: ThreadNumber) -> String {
        let os_thread = self.gates[number].os_thread.load(Ordering::Relaxed);
        let name = std::fs::read_to_string(format!("/proc/self/task/{os_thread}/comm"));
        name.map_or_else(|_| format!("thread {number}"), |name| name.trim_end().to_owned())
    }
}
