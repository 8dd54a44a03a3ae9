//! A connection from its welcome to its end.

use std::io::IoSlice;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::bench::{Bench, MEMORY_BYTES, PATIENCE, collect_to_the_end, pattern, read, write};
use super::{Harness, Settings};
use crate::testing::KEY;
use crate::{CloseReason, Endpoint, FabricError, Outcome, PersistMethod, Refusal, Rights};

/// What the target told at admission arrives whole.
pub(super) fn the_session_tells_what_may_be_used<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let endpoint = bench.connect(Rights::Read);
    let session = endpoint.session();
    assert_eq!(session.incarnation, 1);
    assert_eq!(session.persist, Some(PersistMethod::TargetFlush));
    let [info] = session.access.as_slice() else {
        panic!("one range is exposed: {session:?}");
    };
    assert_eq!((info.key, info.len, info.rights), (KEY, 4096, Rights::Read));
}

/// The target is told when an initiator closes, at once.
pub(super) fn the_target_learns_that_a_connection_closed<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    assert_eq!(write(&mut endpoint, KEY, 0, b"x"), Ok(Outcome::Placed));
    let connection = bench.target.newest();
    drop(endpoint);
    assert!(connection.await_stopped(PATIENCE));
    let reason = bench.target.await_closed(connection.id(), PATIENCE);
    assert_eq!(reason, Some(CloseReason::Closed));
}

/// A target that goes away is an error, not a hang; what had completed is delivered before it.
pub(super) fn a_target_that_is_gone_is_an_error<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    assert_eq!(write(&mut endpoint, KEY, 0, b"x"), Ok(Outcome::Placed));
    bench.harness.shut_down();
    let mut completions = Vec::new();
    let error = endpoint
        .wait(&mut completions, PATIENCE)
        .expect_err("the target is gone");
    assert!(
        matches!(error, FabricError::Stopped(Refusal::ShuttingDown)),
        "{error:?}"
    );
    assert!(completions.is_empty());
}

/// Dropping an endpoint closes its connection, whatever is in flight. Of that, each byte is placed or not; once the target has reported the
/// end, nothing more comes.
pub(super) fn an_endpoint_dropped_amid_work_is_closed<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut other = bench.connect(Rights::Read);
    for round in 1..=10u8 {
        let mut endpoint = bench.connect(Rights::ReadWrite);
        let connection = bench.target.newest();
        let before = bench.placed();
        for offset in (0..10).map(|number| number * 20_000) {
            let bytes = vec![round; 1 + usize::from(round) * 1900];
            endpoint
                .post_write(KEY, offset, &[IoSlice::new(&bytes)])
                .expect("posted");
        }
        drop(endpoint);
        let mut tries = 0;
        while bench
            .target
            .await_closed(connection.id(), Duration::from_millis(1))
            .is_none()
        {
            // Where time moves only while somebody waits, this moves it.
            read(&mut other, KEY, 0, 1).expect("others go on");
            tries += 1;
            assert!(tries < 10_000, "the target is not told");
        }
        assert!(connection.await_stopped(PATIENCE));
        let after = bench.placed();
        let old_or_new = |(before, after): (&u8, &u8)| after == before || *after == round;
        assert!(before.iter().zip(&after).all(old_or_new));
        read(&mut other, KEY, 0, 1).expect("others go on");
        assert!(bench.placed() == after, "nothing comes after the end");
    }
}

/// A target that is shut down while operations are in flight leaves nobody waiting, nothing half carried out afterwards, and no way in.
pub(super) fn a_target_that_goes_amid_work_leaves_nothing_open<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let writing: Vec<_> = (0..3)
        .map(|number| {
            let mut endpoint = bench.connect(Rights::ReadWrite);
            let bytes = pattern(number, 90_000);
            thread::spawn(move || {
                loop {
                    let posted = endpoint.post_write(KEY, 0, &[IoSlice::new(&bytes)]);
                    let done = posted.and_then(|_| endpoint.poll(&mut Vec::new()));
                    if let Err(error) = done {
                        return error;
                    }
                }
            })
        })
        .collect();
    while bench.target.memory().counts().writes < 30 {
        thread::yield_now();
    }
    let ticket = bench.target.issue(Rights::Read);
    bench.harness.shut_down();
    let placed = bench.placed();
    for writing in writing {
        let error = writing.join().expect("no panic");
        let told = matches!(
            error,
            FabricError::Stopped(Refusal::ShuttingDown) | FabricError::Lost(_)
        );
        assert!(told, "{error:?}");
    }
    assert!(bench.placed() == placed, "nothing lands after the shutdown");
    for connection in bench.target.connections() {
        assert!(
            connection.await_stopped(Duration::ZERO),
            "it is confirmed for each"
        );
        assert!(bench.target.await_closed(connection.id(), PATIENCE).is_some());
    }
    let error = bench.harness.connect(&ticket).err().expect("nobody is there");
    assert!(matches!(error, FabricError::Connect { .. }), "{error:?}");
}

/// A target that comes back is in another incarnation and says so. What was placed is what it finds; the tickets and keys of
/// the one before are worth nothing.
pub(super) fn another_incarnation_says_so<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let unused = bench.target.issue(Rights::ReadWrite);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    assert_eq!(endpoint.session().incarnation, 1);
    assert_eq!(write(&mut endpoint, KEY, 0, b"kept"), Ok(Outcome::Placed));
    bench.harness.shut_down();
    let (_, error) = collect_to_the_end(&mut endpoint);
    assert!(
        matches!(error, FabricError::Stopped(Refusal::ShuttingDown)),
        "{error:?}"
    );

    let target = bench.target.restarted();
    let next = Bench::<H> {
        harness: H::serve(Arc::clone(&target), Settings::default()),
        target,
    };
    let refused = next.harness.connect(&unused).err().expect("it does not connect");
    assert!(
        matches!(refused, FabricError::Refused(Refusal::Ticket)),
        "{refused:?}"
    );
    let mut again = next.connect(Rights::ReadWrite);
    assert_eq!(again.session().incarnation, 2);
    assert_eq!(read(&mut again, KEY, 0, 4), Ok(Outcome::Read(b"kept".to_vec())));
    assert!(
        endpoint.post_read(KEY, 0, 4).is_err(),
        "the old connection does not come back"
    );
}

/// Nothing to do is no reason to end a connection: neither for one that does nothing at all, longer than its time-out for operations, nor
/// for one that writes a word now and then.
pub(super) fn an_idle_connection_stays<H: Harness>() {
    let settings = Settings {
        op_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    let bench = Bench::<H>::with(4096, settings);
    let mut idle = bench.connect(Rights::Read);
    let mut beating = bench.connect(Rights::ReadWrite);
    for beat in 0..12u64 {
        assert_eq!(
            write(&mut beating, KEY, 64, &beat.to_le_bytes()),
            Ok(Outcome::Placed)
        );
        for endpoint in [&mut idle, &mut beating] {
            let waited = endpoint.wait(&mut Vec::new(), Duration::from_millis(10));
            assert!(matches!(waited, Ok(0)), "{waited:?}");
        }
    }
    let seen = read(&mut idle, KEY, 64, 8);
    assert_eq!(seen, Ok(Outcome::Read(11u64.to_le_bytes().to_vec())));
}
