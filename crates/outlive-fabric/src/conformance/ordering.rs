//! Completions come in order, and all of them.

use std::io::IoSlice;

use super::bench::{Bench, MEMORY_BYTES, collect, index, pattern, write};
use super::{Harness, Settings};
use crate::testing::KEY;
use crate::{Endpoint, OpId, Outcome, PersistMethod, Refusal, RemoteKey, Rights};

/// Completions arrive in the order of posting, whatever the kinds and outcomes.
pub(super) fn completions_come_in_the_order_of_posting<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let large = pattern(3, 70_000);
    let mut posted = Vec::new();
    for round in 0..40 {
        let offset = round * 100;
        posted.push(
            endpoint
                .post_write(KEY, offset, &[IoSlice::new(b"abc")])
                .expect("posted"),
        );
        posted.push(endpoint.post_persist(KEY, offset, 3).expect("posted"));
        posted.push(endpoint.post_read(KEY, offset, 3).expect("posted"));
        posted.push(
            endpoint
                .post_write(RemoteKey(99), 0, &[IoSlice::new(b"x")])
                .expect("posted"),
        );
        posted.push(
            endpoint
                .post_write(KEY, 100_000, &[IoSlice::new(&large)])
                .expect("posted"),
        );
        posted.push(endpoint.post_read(KEY, u64::MAX, 1).expect("posted"));
    }
    assert_eq!(endpoint.outstanding(), posted.len());
    let completions = collect(&mut endpoint, posted.len());
    assert_eq!(endpoint.outstanding(), 0);
    assert!(posted.is_sorted(), "operations are numbered upwards");
    for (round, six) in completions.chunks(6).enumerate() {
        let ops: Vec<OpId> = six.iter().map(|completion| completion.op).collect();
        assert_eq!(ops, posted[round * 6..round * 6 + 6]);
        assert_eq!(six[0].result, Ok(Outcome::Placed));
        assert_eq!(six[1].result, Ok(Outcome::Persistent(PersistMethod::TargetFlush)));
        assert_eq!(six[2].result, Ok(Outcome::Read(b"abc".to_vec())));
        assert_eq!(six[3].result, Err(Refusal::UnknownKey { key: 99 }));
        assert_eq!(six[4].result, Ok(Outcome::Placed));
        assert!(matches!(
            six[5].result,
            Err(Refusal::OutOfRange {
                offset: u64::MAX,
                len: 1,
                ..
            })
        ));
    }
}

/// Posting more than the window holds waits for room and loses nothing, though nobody polls.
pub(super) fn more_operations_than_the_window_holds<H: Harness>() {
    const OPS: u64 = 20_000;
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let mut last = OpId(0);
    for number in 0..OPS {
        let op = endpoint.post_write(KEY, number * 8, &[IoSlice::new(&number.to_le_bytes())]);
        let op = op.expect("posted");
        assert!(op > last);
        last = op;
    }
    let completions = collect(&mut endpoint, index(OPS));
    assert!(
        completions
            .iter()
            .all(|completion| completion.result == Ok(Outcome::Placed))
    );
    assert!(completions.is_sorted_by_key(|completion| completion.op));
    let placed = bench.placed();
    for (number, bytes) in (0..OPS).zip(placed.chunks(8)) {
        assert_eq!(bytes, number.to_le_bytes());
    }
}

/// A write that is posted after another's completion is the one that stays, on the same connection and on another.
pub(super) fn a_write_after_a_completed_one_wins<H: Harness>() {
    let bench = Bench::<H>::new(200_000);
    let mut endpoints = [bench.connect(Rights::ReadWrite), bench.connect(Rights::ReadWrite)];
    for round in 0..60u8 {
        let len = if round % 3 == 0 { 100_000 } else { 777 };
        let endpoint = &mut endpoints[usize::from(round % 4 / 2)];
        assert_eq!(write(endpoint, KEY, 3, &vec![round; len]), Ok(Outcome::Placed));
        assert!(
            bench.placed()[3..3 + len].iter().all(|byte| *byte == round),
            "round {round}"
        );
    }
}

/// A window for three operations is a slow way, and a whole one.
pub(super) fn a_small_window_holds_everything_in_turn<H: Harness>() {
    let settings = Settings {
        window_ops: 3,
        ..Settings::default()
    };
    let bench = Bench::<H>::with(MEMORY_BYTES, settings);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let mut posted = Vec::new();
    for round in 0..300u64 {
        let bytes = pattern(round, if round % 50 == 0 { 70_000 } else { 40 });
        posted.push(
            endpoint
                .post_write(KEY, round * 40, &[IoSlice::new(&bytes)])
                .expect("posted"),
        );
        if round % 7 == 0 {
            posted.push(endpoint.post_persist(KEY, 0, 40).expect("posted"));
            posted.push(endpoint.post_read(KEY, round * 40, 40).expect("posted"));
        }
    }
    let completions = collect(&mut endpoint, posted.len());
    let completed: Vec<OpId> = completions.iter().map(|completion| completion.op).collect();
    assert_eq!(completed, posted);
    assert!(completions.iter().all(|completion| completion.result.is_ok()));
}
