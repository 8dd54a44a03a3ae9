//! What a persist promises, and who may not promise it.

use std::io::IoSlice;
use std::thread;

use super::Harness;
use super::bench::{Bench, MEMORY_BYTES, collect, index, only, persist, read, write};
use crate::testing::KEY;
use crate::{Endpoint, Outcome, PersistMethod, Refusal, Rights};

/// A persist's completion means that every write posted before it in its range is persistent, also
/// when all of it was on its way at once.
pub(super) fn a_persist_covers_what_was_posted_before_it<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    for round in 1..=20u8 {
        let bytes = vec![round; 50_000];
        endpoint
            .post_write(KEY, 0, &[IoSlice::new(&[round; 100])])
            .expect("posted");
        endpoint
            .post_write(KEY, 100, &[IoSlice::new(&[round; 28])])
            .expect("posted");
        endpoint
            .post_write(KEY, 9001, &[IoSlice::new(&bytes)])
            .expect("posted");
        let first = endpoint.post_persist(KEY, 0, 128).expect("posted");
        endpoint
            .post_write(KEY, 200_000, &[IoSlice::new(&[round])])
            .expect("posted");
        let second = endpoint.post_persist(KEY, 9001, 190_999 + 1).expect("posted");
        let completions = collect(&mut endpoint, 6);
        let persistent = bench.target.memory().persistent();
        assert_eq!((completions[3].op, completions[5].op), (first, second));
        for completion in [&completions[3], &completions[5]] {
            assert_eq!(
                completion.result,
                Ok(Outcome::Persistent(PersistMethod::TargetFlush))
            );
        }
        assert!(persistent[..128].iter().all(|byte| *byte == round));
        assert!(persistent[9001..59_001].iter().all(|byte| *byte == round));
        assert_eq!(persistent[200_000], round);
    }
}

/// A medium that fails refuses operations with that reason; reads and the connection go on.
pub(super) fn a_failed_medium_refuses_and_says_so<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    assert_eq!(write(&mut endpoint, KEY, 0, b"before"), Ok(Outcome::Placed));
    bench.target.memory().fail();
    for offset in [0, 6, 12] {
        endpoint
            .post_write(KEY, offset, &[IoSlice::new(b"after!")])
            .expect("posted");
    }
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(&vec![1; 100_000])])
        .expect("posted");
    endpoint.post_persist(KEY, 0, 6).expect("posted");
    for completion in collect(&mut endpoint, 5) {
        assert!(
            matches!(completion.result, Err(Refusal::Media(_))),
            "{completion:?}"
        );
    }
    assert_eq!(
        read(&mut endpoint, KEY, 0, 6),
        Ok(Outcome::Read(b"before".to_vec()))
    );
}

/// Persists of several connections at once may share a flush; each covers its own connection's writes all the same.
pub(super) fn every_connection_has_its_own_persists<H: Harness>() {
    const SHARE_BYTES: u64 = 50_000;
    let bench = Bench::<H>::new(index(4 * SHARE_BYTES));
    let target = &bench.target;
    let write_and_persist = |mut endpoint: H::Endpoint, begin: u64| {
        for round in 1..=30u8 {
            let len = if round % 5 == 0 { index(SHARE_BYTES) } else { 900 };
            endpoint
                .post_write(KEY, begin, &[IoSlice::new(&vec![round; len])])
                .expect("posted");
            let op = endpoint.post_persist(KEY, begin, len as u64).expect("posted");
            let completions = collect(&mut endpoint, 2);
            assert_eq!(completions[1].op, op);
            assert!(matches!(completions[1].result, Ok(Outcome::Persistent(_))));
            let persistent = target.memory().persistent();
            assert!(
                persistent[index(begin)..][..len]
                    .iter()
                    .all(|byte| *byte == round),
                "round {round}"
            );
        }
    };
    thread::scope(|scope| {
        for begin in (0..4).map(|share| share * SHARE_BYTES) {
            let endpoint = bench.connect(Rights::ReadWrite);
            scope.spawn(move || write_and_persist(endpoint, begin));
        }
    });
}

/// What a medium cannot promise is refused, by name, and is not told at the welcome either.
pub(super) fn a_medium_that_cannot_persist_refuses_to<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    bench.target.promise_no_persistence();
    let mut endpoint = bench.connect(Rights::ReadWrite);
    assert_eq!(endpoint.session().persist, None);
    assert_eq!(write(&mut endpoint, KEY, 0, b"placed"), Ok(Outcome::Placed));
    assert_eq!(persist(&mut endpoint, KEY, 0, 6), Err(Refusal::NotPersistent));
    assert_eq!(
        read(&mut endpoint, KEY, 0, 6),
        Ok(Outcome::Read(b"placed".to_vec()))
    );
}

/// A flush that fails is said to have failed, to everybody who waits for it and to everybody who comes later.
pub(super) fn after_a_failed_flush_nothing_is_acknowledged<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let mut other = bench.connect(Rights::ReadWrite);
    assert_eq!(write(&mut endpoint, KEY, 0, b"before"), Ok(Outcome::Placed));
    assert!(matches!(
        persist(&mut endpoint, KEY, 0, 6),
        Ok(Outcome::Persistent(_))
    ));
    bench.target.memory().fail_flushes();
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"AFTER!")])
        .expect("posted");
    let failing = endpoint.post_persist(KEY, 0, 6).expect("posted");
    let completions = collect(&mut endpoint, 2);
    assert_eq!(completions[1].op, failing);
    assert!(
        matches!(completions[1].result, Err(Refusal::Media(_))),
        "{completions:?}"
    );
    for endpoint in [&mut endpoint, &mut other] {
        for _ in 0..3 {
            assert!(matches!(persist(endpoint, KEY, 0, 6), Err(Refusal::Media(_))));
            assert!(matches!(
                write(endpoint, KEY, 8, b"never"),
                Err(Refusal::Media(_))
            ));
        }
        assert!(read(endpoint, KEY, 0, 6).is_ok(), "it can still be read");
    }
    assert_eq!(bench.target.memory().persistent()[..6], *b"before");
    let op = endpoint.post_persist(KEY, 0, 0).expect("the connection lives");
    assert!(only(&mut endpoint, op).is_err());
}
