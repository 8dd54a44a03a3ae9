//! A flush counts only for what was placed before it began; a failed one poisons the medium.

use std::thread;

use outlive_media::MediaError;

use crate::faulty::Faulty;

#[test]
fn what_was_placed_during_a_flush_is_not_called_persistent_by_it() {
    let faulty = Faulty::of(vec![0; 4096]);
    let medium = faulty.medium();
    faulty.state(|state| state.hold_flush = true);
    thread::scope(|scope| {
        medium.store(0, b"early").unwrap();
        let early = scope.spawn(|| medium.persist());
        faulty.await_flushing();
        let late = scope.spawn(|| {
            medium.store(100, b"late").unwrap();
            medium.persist().unwrap();
            faulty.state(|state| state.persistent[100..104].to_vec())
        });
        while medium.persists() < 2 {
            thread::yield_now();
        }
        faulty.state(|state| state.hold_flush = false);
        early.join().unwrap().unwrap();
        assert_eq!(late.join().unwrap(), b"late");
    });
    assert_eq!(faulty.state(|state| state.persistent[..5].to_vec()), b"early");
    assert_eq!(medium.flushes(), 2);
}

#[test]
fn many_persists_share_few_flushes_and_none_is_told_too_early() {
    const CALLERS: u8 = 16;
    const ROUNDS: u8 = 50;
    let faulty = Faulty::of(vec![0; 4096]);
    let medium = faulty.medium();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (medium, faulty) = (&medium, &faulty);
            scope.spawn(move || {
                for round in 1..=ROUNDS {
                    medium.store(u64::from(caller), &[round]).unwrap();
                    medium.persist().unwrap();
                    assert_eq!(faulty.state(|state| state.persistent[usize::from(caller)]), round);
                }
            });
        }
    });
    assert_eq!(medium.persists(), u64::from(CALLERS) * u64::from(ROUNDS));
    assert!(medium.flushes() <= medium.persists());
}

#[test]
fn a_failed_flush_ends_the_medium_for_all() {
    let faulty = Faulty::of(vec![7; 4096]);
    let medium = faulty.medium();
    medium.persist().unwrap();
    faulty.state(|state| (state.fail_flush, state.hold_flush) = (true, true));
    thread::scope(|scope| {
        let leader = scope.spawn(|| medium.persist());
        faulty.await_flushing();
        let follower = scope.spawn(|| medium.persist());
        while medium.persists() < 3 {
            thread::yield_now();
        }
        faulty.state(|state| state.hold_flush = false);
        for caller in [leader, follower] {
            assert!(matches!(caller.join().unwrap(), Err(MediaError::Poisoned { .. })));
        }
    });
    // The device answers again; what it lost nobody knows.
    faulty.state(|state| state.fail_flush = false);
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
    faulty.medium().persist().unwrap();
}
