//! Lines that break, fall silent, and half-close.

use std::io::IoSlice;
use std::time::Duration;

use super::bench::{Bench, MEMORY_BYTES, PATIENCE, collect, collect_to_the_end, pattern, read, write};
use super::{Harness, Settings, Unable};
use crate::testing::KEY;
use crate::{Endpoint, FabricError, Outcome, Refusal, RemoteKey, Rights};

/// An initiator that has said that nothing more will come has its connection ended, not kept for ever: what had completed is there, the target
/// reports it closed, and the initiator, should it still look, learns it.
pub(super) fn whoever_ends_its_sending_is_served_to_its_end<H: Harness>() -> Result<(), Unable> {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let (mut endpoint, line) = bench.connect_on_a_line()?;
    let id = bench.target.newest().id();
    let bytes = pattern(1, 200_000);
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(&bytes)])
        .expect("posted");
    endpoint
        .post_write(KEY, 300_000, &[IoSlice::new(b"small")])
        .expect("posted");
    collect(&mut endpoint, 2);
    line.end_sending()?;
    assert!(
        bench.target.await_closed(id, PATIENCE).is_some(),
        "the target noticed"
    );
    let (completions, error) = collect_to_the_end(&mut endpoint);
    assert_eq!(completions, []);
    assert!(
        matches!(error, FabricError::Lost(_) | FabricError::Stopped(_)),
        "{error:?}"
    );
    assert!(bench.placed()[..200_000] == bytes);
    assert_eq!(bench.placed()[300_000..300_005], *b"small");
    Ok(())
}

/// A target whose host is gone answers nothing and closes nothing: the endpoint gives up after its time-out, claims nothing of what is
/// outstanding, and stays given up.
pub(super) fn a_silent_target_is_given_up<H: Harness>() -> Result<(), Unable> {
    let bench = Bench::<H>::with(MEMORY_BYTES, impatient());
    let (mut endpoint, line) = bench.connect_on_a_line()?;
    assert_eq!(write(&mut endpoint, KEY, 0, b"heard"), Ok(Outcome::Placed));
    line.fall_silent();
    let waited = endpoint.wait(&mut Vec::new(), Duration::from_millis(400));
    assert!(
        matches!(waited, Ok(0)),
        "nothing is outstanding, so nothing is missing: {waited:?}"
    );
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"not h")])
        .expect("posted");
    endpoint.post_read(KEY, 0, 5).expect("posted");
    let (completions, error) = collect_to_the_end(&mut endpoint);
    assert_eq!(completions, [], "nothing is known of what was in flight");
    assert!(matches!(error, FabricError::TimedOut { ms: 300 }), "{error:?}");
    assert!(endpoint.post_read(KEY, 0, 5).is_err(), "it stays given up");
    assert!(endpoint.wait(&mut Vec::new(), PATIENCE).is_err());
    line.heal();
    assert!(
        endpoint.post_read(KEY, 0, 5).is_err(),
        "also when the line is there again"
    );
    Ok(())
}

/// A silence shorter than the time-out is a slow operation and nothing else.
pub(super) fn a_silence_that_ends_in_time_costs_nothing<H: Harness>() -> Result<(), Unable> {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let (mut endpoint, line) = bench.connect_on_a_line()?;
    for round in 1..=5u8 {
        line.fall_silent();
        endpoint
            .post_write(KEY, 0, &[IoSlice::new(&[round; 50_000])])
            .expect("posted");
        endpoint.post_read(KEY, 49_999, 1).expect("posted");
        let waited = endpoint.wait(&mut Vec::new(), Duration::from_millis(20));
        assert!(matches!(waited, Ok(0)), "{waited:?}");
        assert_eq!(endpoint.outstanding(), 2);
        line.heal();
        let completions = collect(&mut endpoint, 2);
        assert_eq!(completions[0].result, Ok(Outcome::Placed));
        assert_eq!(completions[1].result, Ok(Outcome::Read(vec![round])));
    }
    Ok(())
}

/// A connection is lost in the middle of a write, and its outcome is unknown. Whoever connects again gets a key of its own (the old one is dead),
/// reads, finds each byte old or new, writes again what is missing, and goes on.
pub(super) fn after_a_loss_one_reads_compares_and_goes_on<H: Harness>() -> Result<(), Unable> {
    const LEN: u32 = 60_000;
    let bench = Bench::<H>::new(MEMORY_BYTES);
    for (round, until_silent) in (1u64..).zip([1, 39, 8000, 30_001, 59_990, 200_000]) {
        let (old, new) = (vec![0x0f; LEN as usize], vec![0xf0; LEN as usize]);
        let (mut endpoint, line) = bench.connect_on_a_line()?;
        let id = bench.target.newest().id();
        assert_eq!(write(&mut endpoint, KEY, 3, &old), Ok(Outcome::Placed));
        line.fall_silent_after(until_silent);
        endpoint
            .post_write(KEY, 3, &[IoSlice::new(&new)])
            .expect("posted");
        endpoint.flush().expect("on its way");
        line.cut();
        let (completions, error) = collect_to_the_end(&mut endpoint);
        assert!(matches!(error, FabricError::Lost(_)), "{error:?}");
        assert!(
            bench.target.await_closed(id, PATIENCE).is_some(),
            "the target noticed"
        );

        let key = RemoteKey(500 + round);
        let ticket = bench.target.issue_under(key, Rights::ReadWrite);
        let mut again = bench.harness.connect(&ticket).expect("a new ticket lets in");
        assert_eq!(
            read(&mut again, KEY, 3, 1),
            Err(Refusal::UnknownKey { key: KEY.0 })
        );
        let Ok(Outcome::Read(found)) = read(&mut again, key, 3, LEN) else {
            panic!("it can be read");
        };
        assert!(
            found.iter().all(|byte| matches!(byte, 0x0f | 0xf0)),
            "each byte is old or new"
        );
        assert!(
            completions.is_empty() || found == new,
            "what was acknowledged is there"
        );
        assert_eq!(write(&mut again, key, 3, &new), Ok(Outcome::Placed));
        assert!(read(&mut again, key, 3, LEN) == Ok(Outcome::Read(new)));
        assert!(endpoint.post_read(KEY, 0, 1).is_err(), "what was lost stays lost");
    }
    Ok(())
}

/// The target hears of a broken line by itself, busy or idle.
pub(super) fn the_target_learns_of_a_lost_line<H: Harness>() -> Result<(), Unable> {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    for is_busy in [false, true] {
        let (mut endpoint, line) = bench.connect_on_a_line()?;
        let connection = bench.target.newest();
        if is_busy {
            for _ in 0..20 {
                endpoint
                    .post_write(KEY, 0, &[IoSlice::new(&[1; 9000])])
                    .expect("posted");
            }
            endpoint.flush().expect("on its way");
        }
        line.cut();
        assert!(bench.target.await_closed(connection.id(), PATIENCE).is_some());
        assert!(connection.await_stopped(PATIENCE));
    }
    Ok(())
}

fn impatient() -> Settings {
    Settings {
        op_timeout: Duration::from_millis(300),
        ..Settings::default()
    }
}
