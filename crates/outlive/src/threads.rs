//! Runtimes for control that are refused where the system gives no threads or descriptors.

use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use tokio::runtime::{Builder, Runtime};

/// Pairs of descriptors that a runtime needs at most when it is built.
const DESCRIPTOR_PAIRS: usize = 4;

/// A runtime with so many threads of this name.
///
/// Tokio itself panics where it gets no thread, or no descriptors for signals, so whether there are as many is found out
/// first, and one thread more for what blocks.
///
/// # Errors
/// The system's, where a limit on threads, memory or descriptors leaves no room for them.
pub fn runtime(workers: usize, name: &str) -> io::Result<Runtime> {
    check_room(workers + 1)?;
    build(workers, name)
}

/// Whether so many more threads, and the descriptors of a runtime, are to be had: to be asked before a
/// [`Session`](crate::Session) is connected by whoever wants to read of it in one line.
///
/// # Errors
/// As for [`runtime`].
pub fn check_room(threads: usize) -> io::Result<()> {
    probe(threads)?;
    // What a runtime opens for its events, its wake-ups and signals; and one more.
    let room = (0..DESCRIPTOR_PAIRS).map(|_| UnixStream::pair());
    room.collect::<io::Result<Vec<_>>>().map(drop)
}

/// A runtime, or an error, though tokio says it with a panic.
pub(crate) fn build(workers: usize, name: &str) -> io::Result<Runtime> {
    let build = || {
        Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name(name)
            .enable_all()
            .build()
    };
    let none = |_| {
        Err(io::Error::other(
            "the system gives no threads or descriptors for it",
        ))
    };
    catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(none)
}

/// Has so many threads at the same time, for a moment.
fn probe(count: usize) -> io::Result<()> {
    // Each waits until nobody can tell it anything any more: until all were started, or one was not.
    let mut threads = Vec::with_capacity(count);
    let mut waiting = Vec::with_capacity(count);
    let mut outcome = Ok(());
    for _ in 0..count {
        let (hold, held) = mpsc::channel::<()>();
        let started = thread::Builder::new().name("probe".into()).spawn(move || {
            // An error is what it waits for.
            let _ = held.recv();
        });
        match started {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
        waiting.push(hold);
    }
    drop(waiting);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_runs_what_it_is_given() {
        let runtime = runtime(2, "test").unwrap();
        assert_eq!(
            runtime.block_on(async { tokio::spawn(async { 7 }).await.unwrap() }),
            7
        );
    }
}
