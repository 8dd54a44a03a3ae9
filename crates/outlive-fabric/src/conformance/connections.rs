//! Many connections to one target.

use super::Harness;
use super::bench::{Bench, PATIENCE, index, read, write};
use crate::testing::KEY;
use crate::{CloseReason, Outcome, Refusal, RemoteKey, Rights};

/// One connection's refusals and end do not touch another's work.
pub(super) fn connections_share_memory_and_nothing_else<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut writer = bench.connect(Rights::ReadWrite);
    let mut reader = bench.connect(Rights::Read);
    assert_eq!(write(&mut writer, KEY, 5, b"shared"), Ok(Outcome::Placed));
    assert_eq!(
        read(&mut reader, KEY, 5, 6),
        Ok(Outcome::Read(b"shared".to_vec()))
    );
    assert_eq!(write(&mut reader, KEY, 5, b"SHARED"), Err(Refusal::ReadOnly));
    bench.target.connections()[0].stop(Refusal::Fenced { generation: 2 });
    assert!(bench.target.connections()[0].await_stopped(PATIENCE));
    assert_eq!(
        read(&mut reader, KEY, 5, 6),
        Ok(Outcome::Read(b"shared".to_vec()))
    );
}

/// Hundreds of connections that are open together: each has a key of its own, which is good there and nowhere else.
pub(super) fn each_of_hundreds_has_its_own_key<H: Harness>() {
    const CONNECTIONS: u64 = 200;
    let bench = Bench::<H>::new(index(CONNECTIONS * 16));
    let key = |number: u64| RemoteKey(1000 + number % CONNECTIONS);
    let mut endpoints: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let ticket = bench.target.issue_under(key(number), Rights::ReadWrite);
            bench.harness.connect(&ticket).expect("a valid ticket lets in")
        })
        .collect();
    for (number, endpoint) in (0..).zip(&mut endpoints) {
        let own = write(endpoint, key(number), number * 16, &number.to_le_bytes());
        assert_eq!(own, Ok(Outcome::Placed));
        for other in [number + 1, number + CONNECTIONS / 2] {
            let unknown = Err(Refusal::UnknownKey { key: key(other).0 });
            assert_eq!(write(endpoint, key(other), number * 16, b"not mine"), unknown);
            assert_eq!(read(endpoint, key(other), 0, 1), unknown);
        }
    }
    for (number, endpoint) in (0..).zip(&mut endpoints) {
        let before = (number + CONNECTIONS - 1) % CONNECTIONS;
        let seen = read(endpoint, key(number), before * 16, 8);
        assert_eq!(seen, Ok(Outcome::Read(before.to_le_bytes().to_vec())));
    }
}

/// Connections that are made and closed all day leave nothing behind at the target, and no number is given twice.
pub(super) fn connections_come_and_go<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut last = None;
    for round in 0..60u64 {
        let mut endpoint = bench.connect(Rights::ReadWrite);
        let connection = bench.target.newest();
        assert!(Some(connection.id()) > last, "numbers rise");
        last = Some(connection.id());
        assert_eq!(
            write(&mut endpoint, KEY, 8, &round.to_le_bytes()),
            Ok(Outcome::Placed)
        );
        drop(endpoint);
        let reason = bench.target.await_closed(connection.id(), PATIENCE);
        assert_eq!(reason, Some(CloseReason::Closed));
    }
    assert_eq!(bench.placed()[8..16], 59u64.to_le_bytes());
}
