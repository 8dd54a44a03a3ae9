//! What may not be done is refused, by name, and nothing else is touched.

use std::io::IoSlice;

use super::bench::{
    Bench, MEMORY_BYTES, PATIENCE, collect, collect_to_the_end, index, low_byte, persist, read, write,
};
use super::{Harness, Unable};
use crate::testing::KEY;
use crate::{Endpoint, Outcome, Refusal, RemoteKey, Rights};

/// Hostile ranges are refused with the reason and the range asked for; nothing is touched and the
/// connection goes on.
pub(super) fn refusals_touch_nothing_and_the_connection_goes_on<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let limit = MEMORY_BYTES as u64;
    for len in [1, 9, 40_000, 400_000] {
        let bytes = vec![0xff; index(len)];
        for offset in [
            limit - len + 1,
            limit,
            limit + 1,
            u64::MAX - len + 1,
            u64::MAX - 1,
            u64::MAX,
        ] {
            let refusal = Refusal::OutOfRange { offset, len, limit };
            assert_eq!(write(&mut endpoint, KEY, offset, &bytes), Err(refusal.clone()));
            assert_eq!(persist(&mut endpoint, KEY, offset, len), Err(refusal.clone()));
            let asked = u32::try_from(len).expect("short");
            assert_eq!(read(&mut endpoint, KEY, offset, asked), Err(refusal));
        }
        assert_eq!(
            write(&mut endpoint, RemoteKey(1), 0, &bytes),
            Err(Refusal::UnknownKey { key: 1 })
        );
    }
    let whole = Refusal::OutOfRange {
        offset: 1,
        len: u64::MAX,
        limit,
    };
    assert_eq!(persist(&mut endpoint, KEY, 1, u64::MAX), Err(whole));
    assert_eq!(
        read(&mut endpoint, RemoteKey(u64::MAX), 0, 1),
        Err(Refusal::UnknownKey { key: u64::MAX })
    );
    assert_eq!(
        bench.placed(),
        vec![0; MEMORY_BYTES],
        "refused operations touch nothing"
    );
    assert_eq!(bench.target.memory().counts().persists, 0);
    assert_eq!(write(&mut endpoint, KEY, limit - 1, b"!"), Ok(Outcome::Placed));
    assert_eq!(bench.placed()[MEMORY_BYTES - 1], b'!');
}

/// A backup's rights: reads only.
pub(super) fn readers_cannot_write<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::Read);
    assert_eq!(write(&mut endpoint, KEY, 0, b"x"), Err(Refusal::ReadOnly));
    assert_eq!(persist(&mut endpoint, KEY, 0, 1), Err(Refusal::ReadOnly));
    assert_eq!(read(&mut endpoint, KEY, 0, 2), Ok(Outcome::Read(vec![0, 0])));
    assert_eq!(bench.placed(), vec![0; 4096]);
}

/// The very last byte can be reached, with every length up to a line and more, and none behind it.
pub(super) fn one_byte_too_far_is_refused<H: Harness>() {
    const LIMIT: u64 = 5003;
    let bench = Bench::<H>::new(index(LIMIT));
    let mut endpoint = bench.connect(Rights::ReadWrite);
    for len in (1..=66).chain([4096, 5002, 5003]) {
        let bytes = vec![0x11; index(len)];
        let asked = u32::try_from(len).expect("short");
        let last = LIMIT - len;
        assert_eq!(write(&mut endpoint, KEY, last, &bytes), Ok(Outcome::Placed));
        assert_eq!(
            read(&mut endpoint, KEY, last, asked),
            Ok(Outcome::Read(bytes.clone()))
        );
        assert!(matches!(
            persist(&mut endpoint, KEY, last, len),
            Ok(Outcome::Persistent(_))
        ));
        let beyond = Refusal::OutOfRange {
            offset: last + 1,
            len,
            limit: LIMIT,
        };
        let untouched = bench.placed();
        assert_eq!(write(&mut endpoint, KEY, last + 1, &bytes), Err(beyond.clone()));
        assert_eq!(read(&mut endpoint, KEY, last + 1, asked), Err(beyond.clone()));
        assert_eq!(persist(&mut endpoint, KEY, last + 1, len), Err(beyond));
        assert_eq!(bench.placed(), untouched);
    }
}

/// M6: what one connection was told is worthless on another, for every kind of operation.
pub(super) fn a_key_of_another_connection_is_unknown<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let keys = [RemoteKey(11), RemoteKey(12)];
    let mut endpoints = keys.map(|key| {
        let ticket = bench.target.issue_under(key, Rights::ReadWrite);
        bench.harness.connect(&ticket).expect("a valid ticket lets in")
    });
    for (number, endpoint) in endpoints.iter_mut().enumerate() {
        let (own, other) = (keys[number], keys[1 - number]);
        assert_eq!(endpoint.session().access[0].key, own);
        let unknown = Refusal::UnknownKey { key: other.0 };
        let untouched = bench.placed();
        assert_eq!(write(endpoint, other, 0, b"not mine"), Err(unknown.clone()));
        assert_eq!(write(endpoint, other, 0, &[7; 40_000]), Err(unknown.clone()));
        assert_eq!(read(endpoint, other, 0, 8), Err(unknown.clone()));
        assert_eq!(persist(endpoint, other, 0, 8), Err(unknown));
        assert_eq!(bench.placed(), untouched);
        assert_eq!(write(endpoint, own, 0, b"mine"), Ok(Outcome::Placed));
    }
}

/// Each kind of refusal between operations that are let through, all on their way at once: every one gets its own answer.
pub(super) fn refusals_between_operations_change_neither<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let longest = endpoint.max_op_bytes();
    let limit = MEMORY_BYTES as u64;
    let large = vec![0xbb; 60_000];
    for round in 0..20u64 {
        let good = [low_byte(round + 1); 24];
        let at = round * 100;
        endpoint
            .post_write(KEY, at, &[IoSlice::new(&good)])
            .expect("posted");
        endpoint
            .post_write(KEY, limit - 5, &[IoSlice::new(&large)])
            .expect("posted");
        endpoint.post_read(KEY, at, longest + 1).expect("posted");
        endpoint
            .post_write(RemoteKey(1), at, &[IoSlice::new(&large)])
            .expect("posted");
        endpoint.post_persist(KEY, u64::MAX, 2).expect("posted");
        endpoint.post_read(KEY, at, 24).expect("posted");
    }
    for (round, six) in (0..20u64).zip(collect(&mut endpoint, 120).chunks(6)) {
        let good = vec![low_byte(round + 1); 24];
        assert_eq!(six[0].result, Ok(Outcome::Placed));
        assert!(matches!(
            six[1].result,
            Err(Refusal::OutOfRange { len: 60_000, .. })
        ));
        assert!(matches!(six[2].result, Err(Refusal::Limit { .. })));
        assert_eq!(six[3].result, Err(Refusal::UnknownKey { key: 1 }));
        assert!(matches!(six[4].result, Err(Refusal::OutOfRange { len: 2, .. })));
        assert_eq!(six[5].result, Ok(Outcome::Read(good.clone())));
        assert_eq!(bench.placed()[index(round * 100)..][..24], good);
    }
    assert!(
        !bench.placed().contains(&0xbb),
        "nothing of what was refused is there"
    );
}

/// Bytes that are no operation end the connection that they came over, place nothing, and trouble nobody else.
pub(super) fn what_is_not_the_protocol_ends_its_connection_only<H: Harness>() -> Result<(), Unable> {
    let bench = Bench::<H>::new(4096);
    let mut other = bench.connect(Rights::ReadWrite);
    for garbage in [&[0xee; 64][..], &[0; 4096], &[0xff; 70_000]] {
        let (mut endpoint, line) = bench.connect_on_a_line()?;
        let id = bench.target.newest().id();
        assert_eq!(write(&mut endpoint, KEY, 0, b"before"), Ok(Outcome::Placed));
        line.inject(garbage)?;
        let (completions, _) = collect_to_the_end(&mut endpoint);
        assert_eq!(completions, [], "nothing was asked for");
        assert!(
            bench.target.await_closed(id, PATIENCE).is_some(),
            "the target noticed"
        );
        assert_eq!(bench.placed()[..8], *b"before\0\0");
        assert!(bench.placed()[8..].iter().all(|byte| *byte == 0));
        assert_eq!(read(&mut other, KEY, 0, 6), Ok(Outcome::Read(b"before".to_vec())));
    }
    Ok(())
}
