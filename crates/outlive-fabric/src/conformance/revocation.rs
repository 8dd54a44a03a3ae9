//! P3: a stopped connection changes nothing any more.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::bench::{
    Bench, MEMORY_BYTES, PATIENCE, collect, collect_to_the_end, index, low_byte, pattern, read, write,
};
use super::{Harness, Settings, Unable};
use crate::testing::KEY;
use crate::{CloseReason, Endpoint, FabricError, Outcome, Refusal, Rights};

/// P3: once a stop is confirmed, not one byte lands, though the initiator hammers on; it learns why.
pub(super) fn nothing_lands_after_a_confirmed_stop<H: Harness>() {
    for round in 0..10 {
        let bench = Bench::<H>::new(MEMORY_BYTES);
        let mut endpoint = bench.connect(Rights::ReadWrite);
        let hammer = thread::spawn(move || hammer(&mut endpoint));
        while bench.target.memory().counts().writes < 20 + round * 7 {
            thread::yield_now();
        }
        let connection = bench.target.newest();
        let reason = Refusal::Fenced { generation: 2 };
        connection.stop(reason.clone());
        assert!(connection.await_stopped(PATIENCE), "the stop is confirmed");
        let confirmed = bench.placed();
        let error = hammer.join().expect("hammering does not panic");
        assert!(
            matches!(&error, FabricError::Stopped(told) if *told == reason),
            "the initiator learns why: {error:?}"
        );
        assert!(
            bench.placed() == confirmed,
            "not one byte lands after the stop is confirmed"
        );
        let reason = bench.target.await_closed(connection.id(), Duration::ZERO);
        assert!(matches!(reason, None | Some(CloseReason::Stopped(_))));
    }
}

/// A connection with nothing in flight learns of its stop too.
pub(super) fn an_idle_connection_learns_that_it_was_stopped<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let connection = bench.target.newest();
    connection.stop(Refusal::Fenced { generation: 9 });
    connection.stop(Refusal::ShuttingDown);
    assert!(connection.await_stopped(PATIENCE));
    let error = endpoint
        .wait(&mut Vec::new(), PATIENCE)
        .expect_err("it was stopped");
    assert!(
        matches!(error, FabricError::Stopped(Refusal::Fenced { generation: 9 })),
        "{error:?}"
    );
    let again = endpoint.post_read(KEY, 0, 1).expect_err("it stays stopped");
    assert!(matches!(again, FabricError::Stopped(_)), "{again:?}");
}

/// Writes, small and large, each time other bytes, until the connection ends.
fn hammer(endpoint: &mut impl Endpoint) -> FabricError {
    let mut completions = Vec::new();
    let bytes = pattern(11, 150_256);
    for round in 0.. {
        let shifted = &bytes[index(round % 256)..];
        let step = (|| {
            for offset in [0, 200, 400, 5000] {
                endpoint.post_write(KEY, offset, &[IoSlice::new(&shifted[..200])])?;
            }
            let offset = 10_000 + (round % 5) * 150_000;
            endpoint.post_write(KEY, offset, &[IoSlice::new(&shifted[..150_000])])?;
            completions.clear();
            endpoint.poll(&mut completions)
        })();
        if let Err(error) = step {
            return error;
        }
    }
    unreachable!("the rounds do not end")
}

/// P3: connections that each send large writes without a pause are stopped in the middle of them, all but one. Once all are confirmed, not one
/// byte of theirs lands; what had completed is there; whoever was not stopped is not held up.
pub(super) fn a_stop_amid_large_writes_of_several_connections<H: Harness>() {
    const WRITERS: usize = 4;
    let bench = Bench::<H>::new(WRITERS * SHARE_BYTES);
    let completed: [AtomicU64; WRITERS] = Default::default();
    let enough: [AtomicBool; WRITERS] = Default::default();
    thread::scope(|scope| {
        let mut writing = Vec::new();
        let begins = (0..).step_by(SHARE_BYTES);
        for ((begin, completed), enough) in begins.zip(&completed).zip(&enough) {
            let endpoint = bench.connect(Rights::ReadWrite);
            writing.push(scope.spawn(move || fill_again_and_again(endpoint, begin, completed, enough)));
        }
        let rounds = |writer: usize| completed[writer].load(Ordering::SeqCst);
        await_that(|| (0..WRITERS).all(|writer| rounds(writer) >= 2));
        let connections = bench.target.connections();
        let (stopped, spared) = connections.split_at(WRITERS - 1);
        for connection in stopped {
            connection.stop(Refusal::Fenced { generation: 2 });
        }
        for connection in stopped {
            assert!(connection.await_stopped(PATIENCE), "the stop is confirmed");
        }
        let confirmed = bench.placed();
        let before = rounds(WRITERS - 1);
        await_that(|| rounds(WRITERS - 1) >= before + 2);
        enough[WRITERS - 1].store(true, Ordering::SeqCst);
        let ends: Vec<_> = writing
            .into_iter()
            .map(|writing| writing.join().expect("no panic"))
            .collect();
        let placed = bench.placed();
        for (writer, end) in ends.iter().enumerate().take(WRITERS - 1) {
            let told = matches!(end, Some(FabricError::Stopped(Refusal::Fenced { generation: 2 })));
            assert!(told, "writer {writer} learns why: {end:?}");
            let share = writer * SHARE_BYTES..(writer + 1) * SHARE_BYTES;
            assert!(
                placed[share.clone()] == confirmed[share.clone()],
                "a byte of writer {writer} landed after its stop"
            );
            let last = low_byte(rounds(writer));
            let true_to_completion = |byte: &u8| u64::from(byte.wrapping_sub(last)) <= IN_FLIGHT;
            assert!(
                placed[share].iter().all(true_to_completion),
                "what writer {writer} was told is there"
            );
        }
        assert!(
            ends[WRITERS - 1].is_none(),
            "whoever was not stopped goes on: {:?}",
            ends[WRITERS - 1]
        );
        assert_eq!(spared.len(), 1);
    });
}

/// Each writer's own part of the memory, which each of its writes fills.
const SHARE_BYTES: usize = 700_001;
const IN_FLIGHT: u64 = 3;

/// Fills a range with the number of the round, some rounds in flight, until told that it is enough (`None`) or stopped (why).
fn fill_again_and_again(
    mut endpoint: impl Endpoint,
    begin: u64,
    completed: &AtomicU64,
    enough: &AtomicBool,
) -> Option<FabricError> {
    let mut completions = Vec::new();
    let mut step = |round: u64| {
        endpoint.post_write(KEY, begin, &[IoSlice::new(&vec![low_byte(round); SHARE_BYTES])])?;
        while endpoint.outstanding() as u64 >= IN_FLIGHT {
            assert!(endpoint.wait(&mut completions, PATIENCE)? > 0, "it answers");
        }
        for completion in completions.drain(..) {
            assert_eq!(completion.result, Ok(Outcome::Placed));
            // Writes in flight together may be placed in any order; the range holds none that is older than a completed one.
            completed.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    };
    for round in 1.. {
        if enough.load(Ordering::SeqCst) {
            return None;
        }
        if let Err(error) = step(round) {
            return Some(error);
        }
    }
    None
}

/// Waits for what others are about to do.
fn await_that(mut happened: impl FnMut() -> bool) {
    while !happened() {
        thread::yield_now();
    }
}

/// P3: the fence needs nothing of whom it fences: somebody who fell silent in the middle of a large write is stopped as soon as anybody, and what
/// arrives of it afterwards places nothing.
pub(super) fn a_stop_of_whoever_fell_silent_inside_a_write_is_confirmed<H: Harness>() -> Result<(), Unable> {
    let settings = Settings {
        op_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    for until_silent in [1, 20_000, 100_000, 400_000] {
        let bench = Bench::<H>::with(MEMORY_BYTES, settings);
        let (mut endpoint, line) = bench.connect_on_a_line()?;
        let connection = bench.target.newest();
        line.fall_silent_after(until_silent);
        let posted = endpoint.post_write(KEY, 1, &[IoSlice::new(&[0xdd; 900_000])]);
        let error = match posted {
            Err(error) => error,
            Ok(_) => endpoint
                .wait(&mut Vec::new(), PATIENCE)
                .expect_err("nobody answers"),
        };
        assert!(matches!(error, FabricError::TimedOut { .. }), "{error:?}");
        connection.stop(Refusal::Fenced { generation: 2 });
        assert!(connection.await_stopped(PATIENCE), "the stop is confirmed");
        let confirmed = bench.placed();
        line.heal();
        let mut other = bench.connect(Rights::Read);
        read(&mut other, KEY, 0, 1).expect("others go on");
        let reported = bench.target.await_closed(connection.id(), PATIENCE);
        assert!(matches!(reported, Some(CloseReason::Stopped(_))), "{reported:?}");
        assert!(
            bench.placed() == confirmed,
            "after {until_silent} bytes: not one more lands"
        );
        drop(endpoint);
    }
    Ok(())
}

/// Whoever waits for room in its window learns of its stop there; it does not wait for ever.
pub(super) fn a_stop_ends_whoever_waits_for_its_window<H: Harness>() {
    let settings = Settings {
        window_ops: 2,
        ..Settings::default()
    };
    let bench = Bench::<H>::with(MEMORY_BYTES, settings);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let (tell, ended) = mpsc::channel();
    let posting = thread::spawn(move || {
        loop {
            let posted = endpoint.post_write(KEY, 0, &[IoSlice::new(&[9; 30_000])]);
            if let Err(error) = posted {
                // Nobody may be there any more to hear it.
                let _ = tell.send(error);
                return;
            }
        }
    });
    await_that(|| bench.target.memory().counts().writes > 10);
    bench.target.newest().stop(Refusal::Withdrawn);
    let error = ended.recv_timeout(PATIENCE).expect("it does not wait for ever");
    assert!(
        matches!(error, FabricError::Stopped(Refusal::Withdrawn)),
        "{error:?}"
    );
    posting.join().expect("no panic");
}

/// Everybody but the one that was stopped goes on, with what is in flight too.
pub(super) fn a_stop_is_for_its_connection_only<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoints: Vec<_> = (0..6).map(|_| bench.connect(Rights::ReadWrite)).collect();
    for (number, endpoint) in (0u64..).zip(&mut endpoints) {
        for _ in 0..10 {
            let bytes = [low_byte(number) + 1; 9000];
            endpoint
                .post_write(KEY, number * 10_000, &[IoSlice::new(&bytes)])
                .expect("posted");
        }
    }
    let stopped = bench.target.connections()[2].clone();
    stopped.stop(Refusal::Revoked);
    assert!(stopped.await_stopped(PATIENCE));
    for (number, endpoint) in (0u64..).zip(&mut endpoints) {
        if number == 2 {
            let (_, error) = collect_to_the_end(endpoint);
            assert!(
                matches!(error, FabricError::Stopped(Refusal::Revoked)),
                "{error:?}"
            );
            continue;
        }
        for completion in collect(endpoint, 10) {
            assert_eq!(completion.result, Ok(Outcome::Placed));
        }
        assert_eq!(
            write(endpoint, KEY, number * 10_000, b"and on"),
            Ok(Outcome::Placed)
        );
        assert_eq!(bench.placed()[index(number * 10_000)..][..6], *b"and on");
    }
}
