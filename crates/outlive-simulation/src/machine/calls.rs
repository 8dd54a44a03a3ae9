//! What a simulated thread may ask of its operating system. Called by a thread that is not simulated, each of these says so and does nothing.

use super::scheduler::{Awaits, Cause, ThreadNumber};
use super::turn;

/// Which clock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    Monotonic,
    Wall,
}

/// Until when.
#[derive(Clone, Copy)]
pub(super) enum Until {
    At(Clock, u64),
    After(u64),
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    Woken,
    /// It did not begin, as the word no longer held the value.
    Changed,
    TimedOut,
}

impl From<Cause> for Waited {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Woken => Self::Woken,
            Cause::TimedOut => Self::TimedOut,
        }
    }
}

/// What a clock shows; `None` for a thread that is not simulated.
pub(super) fn clock_ns(clock: Clock) -> Option<u64> {
    let mut entered = turn::enter()?;
    let scheduler = entered.scheduler();
    scheduler.read_clock();
    let shown = shown_ns(scheduler, clock);
    entered.maybe_give_way();
    Some(shown)
}

fn shown_ns(scheduler: &super::scheduler::Scheduler, clock: Clock) -> u64 {
    match clock {
        Clock::Monotonic => scheduler.monotonic_ns(),
        Clock::Wall => scheduler.host().wall_ns(scheduler.now_ns),
    }
}

/// A time as the monotonic clock of the running thread's process will show it.
fn deadline_ns(scheduler: &super::scheduler::Scheduler, until: Until) -> u64 {
    match until {
        Until::At(Clock::Monotonic, ns) => ns,
        Until::At(Clock::Wall, ns) => {
            let left = ns.saturating_sub(shown_ns(scheduler, Clock::Wall));
            scheduler.monotonic_ns().saturating_add(left)
        }
        Until::After(ns) => scheduler.monotonic_ns().saturating_add(ns),
    }
}

/// What the monotonic clock shows when this has passed.
pub(super) fn deadline_after(ns: u64) -> u64 {
    turn::enter().map_or(0, |mut entered| {
        deadline_ns(entered.scheduler(), Until::After(ns))
    })
}

pub(super) fn sleep_for(ns: u64) {
    sleep(Until::After(ns));
}

pub(super) fn sleep_until(clock: Clock, ns: u64) {
    sleep(Until::At(clock, ns));
}

fn sleep(until: Until) {
    if let Some(mut entered) = turn::enter() {
        let deadline = deadline_ns(entered.scheduler(), until);
        entered.block(Awaits::Time, Some(deadline));
    }
}

/// Lets another thread run. `false` for a thread that is not simulated.
pub(super) fn give_way() -> bool {
    turn::enter().map(turn::Entered::give_way).is_some()
}

/// Now and then lets another thread run.
pub(super) fn maybe_give_way() {
    if let Some(entered) = turn::enter() {
        entered.maybe_give_way();
    }
}

/// Waits for a wake at `address`, if `unchanged` still holds.
pub(super) fn wait(
    address: usize,
    bits: u32,
    until: Option<Until>,
    unchanged: impl FnOnce() -> bool,
) -> Waited {
    let Some(mut entered) = turn::enter() else {
        return Waited::Woken;
    };
    if !unchanged() {
        entered.maybe_give_way();
        return Waited::Changed;
    }
    let deadline = until.map(|until| deadline_ns(entered.scheduler(), until));
    if entered.scheduler().chance.wakes_for_nothing() {
        entered.give_way();
        return Waited::Woken;
    }
    entered.block(Awaits::Wake { address, bits }, deadline).into()
}

/// Wakes up to `count` of those who wait at `address`, and says how many.
pub(super) fn wake(address: usize, count: u32, bits: u32) -> i64 {
    let Some(mut entered) = turn::enter() else {
        return 0;
    };
    let woken = entered.scheduler().wake_at(address, count as usize, bits);
    entered.maybe_give_way();
    i64::try_from(woken).unwrap_or(i64::MAX)
}

pub(super) fn fill_random(bytes: &mut [u8]) {
    if let Some(mut entered) = turn::enter() {
        entered.scheduler().chance.entropy.fill(bytes);
    }
}

/// A thread was started, and is known by this handle from now on.
pub(super) fn thread_begun(handle: usize, number: ThreadNumber) {
    if let Some(mut entered) = turn::enter() {
        entered.machine().handles.insert(handle, number);
        entered.maybe_give_way();
    }
}

/// A thread could not be started.
pub(super) fn thread_not_begun(number: ThreadNumber) {
    if let Some(mut entered) = turn::enter() {
        entered.scheduler().forget_thread(number);
    }
}

/// Waits for a thread's end.
pub(super) fn join(handle: usize) {
    if let Some(mut entered) = turn::enter()
        && let Some(number) = entered.machine().handles.remove(&handle)
        && !entered.scheduler().thread_is_over(number)
    {
        entered.block(Awaits::Thread(number), None);
    }
}

/// Waits until an epoll instance has something, or, without one, until anybody has written to any descriptor.
pub(super) fn await_events(descriptor: Option<i32>, deadline_ns: Option<u64>) -> Waited {
    let awaits = descriptor.map_or(Awaits::AnyEvent, |descriptor| Awaits::Events { descriptor });
    turn::enter().map_or(Waited::TimedOut, |entered| {
        entered.block(awaits, deadline_ns).into()
    })
}
