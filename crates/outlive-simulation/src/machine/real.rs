//! The real operating system, for the machine itself. `rustix` makes its system calls without the C library, so none of these comes back to us.

use std::sync::atomic::AtomicU32;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::futex;

/// Sleeps while `word` holds `value`; may return early.
pub(super) fn wait_on(word: &AtomicU32, value: u32) {
    // Whatever the outcome, the caller looks at the word again.
    let _ = futex::wait(word, futex::Flags::PRIVATE, value, None);
}

/// Wakes one thread that sleeps on `word`.
pub(super) fn wake(word: &AtomicU32) {
    futex::wake(word, futex::Flags::PRIVATE, 1).expect("a word of this process can be woken");
}

/// The system's number of the calling thread.
pub(super) fn os_thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Keeps the calling thread, and those it starts, on one processor: handing the turn on is then a plain switch. Without effect where that is refused.
pub(super) fn stay_on(processor: usize) {
    let mut set = rustix::thread::CpuSet::new();
    if processor < rustix::thread::CpuSet::MAX_CPU {
        set.set(processor);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}

/// The processor that the calling thread runs on.
pub(super) fn processor() -> usize {
    rustix::thread::sched_getcpu()
}

/// Which of these epoll instances have something.
pub(super) fn readable(descriptors: &[std::os::fd::BorrowedFd<'_>]) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
        .collect();
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut polled, Some(&at_once)) {
        Ok(_) => polled.iter().map(|polled| !polled.revents().is_empty()).collect(),
        // Whoever waits then looks for itself.
        Err(_) => vec![true; descriptors.len()],
    }
}
