//! A flush counts only for what was placed before it began; a failed one poisons the medium.

use std::thread;

use outlive_media::MediaError;
use outlive_media::simulated::{FlushFault, Image, SimulatedMedia};

fn bytes<const N: usize>(image: &Image, at: u64) -> [u8; N] {
    let mut bytes = [0; N];
    image.read(at, &mut bytes);
    bytes
}

#[test]
fn what_was_placed_during_a_flush_is_not_called_persistent_by_it() {
    let media = SimulatedMedia::new(4096);
    let medium = media.medium();
    media.hold_flushes(true);
    thread::scope(|scope| {
        medium.store(0, b"early").unwrap();
        let early = scope.spawn(|| medium.persist());
        media.await_flushing();
        let late = scope.spawn(|| {
            medium.store(100, b"late").unwrap();
            medium.persist().unwrap();
            bytes::<4>(&media.persistent(), 100)
        });
        while medium.persists() < 2 {
            thread::yield_now();
        }
        media.hold_flushes(false);
        early.join().unwrap().unwrap();
        assert_eq!(&late.join().unwrap(), b"late");
    });
    assert_eq!(&bytes::<5>(&media.persistent(), 0), b"early");
    assert_eq!(medium.flushes(), 2);
}

#[test]
fn many_persists_share_few_flushes_and_none_is_told_too_early() {
    const CALLERS: u8 = 16;
    const ROUNDS: u8 = 50;
    let media = SimulatedMedia::new(4096);
    let medium = media.medium();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (medium, media) = (&medium, &media);
            scope.spawn(move || {
                for round in 1..=ROUNDS {
                    medium.store(u64::from(caller), &[round]).unwrap();
                    medium.persist().unwrap();
                    assert_eq!(bytes(&media.persistent(), u64::from(caller)), [round]);
                }
            });
        }
    });
    assert_eq!(medium.persists(), u64::from(CALLERS) * u64::from(ROUNDS));
    assert!(medium.flushes() <= medium.persists());
}

#[test]
fn a_failed_flush_ends_the_medium_for_all() {
    let media = SimulatedMedia::new(4096);
    let medium = media.medium();
    medium.persist().unwrap();
    media.fail_flushes(Some(FlushFault::Fails));
    media.hold_flushes(true);
    thread::scope(|scope| {
        let leader = scope.spawn(|| medium.persist());
        media.await_flushing();
        let follower = scope.spawn(|| medium.persist());
        while medium.persists() < 3 {
            thread::yield_now();
        }
        media.hold_flushes(false);
        for caller in [leader, follower] {
            assert!(matches!(caller.join().unwrap(), Err(MediaError::Poisoned { .. })));
        }
    });
    // The device answers again; what it lost nobody knows.
    media.fail_flushes(None);
    let flushes = medium.flushes();
    let outcomes = [
        medium.persist(),
        medium.settle(),
        medium.store(0, b"x"),
        medium.load(0, &mut [0]),
        medium.zero(0, 1),
    ];
    for outcome in outcomes {
        let Err(MediaError::Poisoned { reason }) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(reason.contains("the device is gone"));
    }
    assert_eq!(
        medium.flushes(),
        flushes,
        "a poisoned medium is not flushed again"
    );
    assert!(medium.failure().is_some());
    // Opened anew it serves again.
    media.medium().persist().unwrap();
}
