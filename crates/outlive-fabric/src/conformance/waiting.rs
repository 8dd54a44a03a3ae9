//! How one waits for completions.

use std::io::IoSlice;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::bench::{Bench, MEMORY_BYTES, PATIENCE, collect, read, write};
use super::{Harness, Unable};
use crate::testing::KEY;
use crate::{Endpoint, Outcome, Rights};

/// Nothing outstanding, nothing arriving: 0 after the timeout, and the endpoint still works.
pub(super) fn a_wait_for_nothing_ends_with_its_timeout<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let mut completions = Vec::new();
    for timeout_ms in [0, 1, 20] {
        let arrived = endpoint.wait(&mut completions, Duration::from_millis(timeout_ms));
        assert_eq!(arrived.expect("the connection lives"), 0);
    }
    assert_eq!(endpoint.poll(&mut completions).expect("the connection lives"), 0);
    assert_eq!(write(&mut endpoint, KEY, 0, b"x"), Ok(Outcome::Placed));
}

/// Whoever never waits gets everything too, in order, and is told truly how much is outstanding.
pub(super) fn polling_alone_gets_everything_done<H: Harness>() {
    const OPS: usize = 300;
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    for round in 0..OPS as u64 {
        let len = if round % 100 == 0 { 100_000 } else { 50 };
        endpoint
            .post_write(KEY, round * 50, &[IoSlice::new(&vec![1; len])])
            .expect("posted");
    }
    let mut completions = Vec::new();
    let begun = Instant::now();
    while completions.len() < OPS {
        let there = completions.len();
        let came = endpoint.poll(&mut completions).expect("the connection lives");
        assert_eq!(completions.len(), there + came);
        assert_eq!(endpoint.outstanding(), OPS - completions.len());
        assert!(begun.elapsed() < PATIENCE, "{} of {OPS} came", completions.len());
    }
    assert!(completions.is_sorted_by_key(|completion| completion.op));
    assert_eq!(endpoint.poll(&mut completions).expect("the connection lives"), 0);
}

/// An endpoint with a descriptor makes it readable when there is something to collect, so that one thread can wait for many things.
pub(super) fn a_descriptor_says_when_to_look<H: Harness>() -> Result<(), Unable> {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    if endpoint.readiness().is_none() {
        return Err(Unable::because("this endpoint has no descriptor"));
    }
    let mut completions = Vec::new();
    for len in [1, 70_000, 2, 20_000] {
        endpoint
            .post_write(KEY, 0, &[IoSlice::new(&vec![3; len])])
            .expect("posted");
        endpoint.flush().expect("on its way");
        completions.clear();
        while endpoint.poll(&mut completions).expect("the connection lives") == 0 {
            let descriptor = endpoint.readiness().expect("it has one");
            let patience = Timespec {
                tv_sec: 30,
                tv_nsec: 0,
            };
            let mut awaited = [PollFd::new(&descriptor, PollFlags::IN)];
            let ready = rustix::event::poll(&mut awaited, Some(&patience)).expect("it can be waited for");
            assert_eq!(ready, 1, "nobody said that there is something");
        }
        assert_eq!(completions[0].result, Ok(Outcome::Placed));
    }
    Ok(())
}

/// An endpoint belongs to whoever has it: it goes on in another thread, with what is in flight.
pub(super) fn an_endpoint_goes_from_thread_to_thread<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    for round in 1..=8u8 {
        endpoint
            .post_write(KEY, 0, &[IoSlice::new(&[round; 5000])])
            .expect("posted");
        let moved = thread::spawn(move || {
            assert_eq!(collect(&mut endpoint, 1)[0].result, Ok(Outcome::Placed));
            endpoint
        });
        endpoint = moved.join().expect("no panic");
        assert_eq!(read(&mut endpoint, KEY, 4999, 1), Ok(Outcome::Read(vec![round])));
    }
}
