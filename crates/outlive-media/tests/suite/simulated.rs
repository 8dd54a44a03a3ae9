//! The simulated medium loses what it may lose, and nothing else.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::ErrorKind;

use outlive_media::simulated::{Cut, FlushFault, Happened, Image, SimulatedMedia, Survival};
use outlive_media::{MediaError, Medium};
use proptest::prelude::*;

fn text(image: &Image, at: u64, len: usize) -> String {
    let mut bytes = vec![0; len];
    image.read(at, &mut bytes);
    String::from_utf8_lossy(&bytes).replace('\0', ".")
}

/// Looks at the cut behind the last event.
fn last_cut<T>(media: &SimulatedMedia, look: impl Fn(&Cut<'_>) -> T) -> T {
    let mut found = None;
    let outcome = media.trace().each_cut(|cut| {
        if cut.event() == media.events() {
            found = Some(look(cut));
        }
        Ok::<_, Infallible>(())
    });
    let Ok(()) = outcome;
    found.unwrap()
}

#[test]
fn words_survive_each_by_itself_and_in_any_version() {
    let media = SimulatedMedia::new(64);
    let medium = media.medium();
    medium.store(0, b"AAAAAAAA").unwrap();
    medium.persist().unwrap();
    medium.store(0, b"BBBBBBBBbbbbbbbb").unwrap();
    medium.store(4, b"CCCC").unwrap();
    let all = last_cut(&media, |cut| {
        assert_eq!((cut.unpersisted_words(), cut.outcomes()), (2, Some(6)));
        assert!(cut.every_outcome(5).is_none(), "six are more than five");
        let every = cut.every_outcome(6).unwrap();
        every.map(|image| text(&image, 0, 16)).collect::<BTreeSet<_>>()
    });
    let expected = [
        "AAAAAAAA........",
        "AAAAAAAAbbbbbbbb",
        "BBBBBBBB........",
        "BBBBBBBBbbbbbbbb",
        "BBBBCCCC........",
        "BBBBCCCCbbbbbbbb",
    ];
    assert!(all.iter().eq(expected), "{all:?}");
}

#[test]
fn each_adversarial_choice_keeps_what_it_says() {
    let media = SimulatedMedia::new(64);
    let medium = media.medium();
    medium.store(0, b"11111111").unwrap();
    medium.store(8, b"2222222222222222").unwrap();
    medium.store(0, b"3333333333333333").unwrap();
    let left = |survival| last_cut(&media, |cut| text(&cut.survivors(survival), 0, 24));
    for (survival, expected) in [
        (Survival::None, "........................"),
        (Survival::All, "333333333333333322222222"),
        (Survival::NewestStore, "3333333333333333........"),
        (Survival::AllButNewestStore, "111111112222222222222222"),
        (Survival::CommitWord, "........33333333........"),
        (Survival::AllButCommitWord, "33333333........22222222"),
        (Survival::OldestStore, "11111111................"),
        (Survival::EvenWords, "33333333........22222222"),
        (Survival::OddWords, "........33333333........"),
        (Survival::LowerHalf, "33333333................"),
        (Survival::UpperHalf, "........3333333322222222"),
        (Survival::FirstVersions, "111111112222222222222222"),
    ] {
        assert_eq!(left(survival), expected, "{survival:?}");
    }
    let sampled: BTreeSet<_> = (0..400).map(|seed| left(Survival::Sampled(seed))).collect();
    assert!(sampled.len() > 12, "{sampled:?}");
    assert_eq!(left(Survival::Sampled(7)), left(Survival::Sampled(7)));
}

#[test]
fn every_store_and_every_persist_is_a_point_to_cut_at() {
    let media = SimulatedMedia::new(4096);
    let medium = media.medium();
    medium.store(0, b"before").unwrap();
    media.forget();
    medium.store(8, b"x").unwrap();
    medium.persist().unwrap();
    medium.zero(8, 16).unwrap();
    let events: Vec<_> = media.trace().events().collect();
    let store = |at, len| Happened::Store { at, len };
    assert_eq!(events, [store(8, 1), Happened::Persist, store(8, 16)]);
    let mut seen = Vec::new();
    let outcome = media.trace().each_cut(|cut| {
        seen.push((
            cut.event(),
            text(cut.persistent(), 0, 9),
            text(cut.placed(), 0, 9),
        ));
        Ok::<_, Infallible>(())
    });
    let Ok(()) = outcome;
    let expected = [
        (0, ".........", "before..."),
        (1, ".........", "before..x"),
        (2, "before..x", "before..x"),
        (3, "before..x", "before..."),
    ];
    let found: Vec<_> = seen
        .iter()
        .map(|(event, persistent, placed)| (*event, persistent.as_str(), placed.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn what_a_killed_user_placed_is_there_and_can_still_be_lost() {
    let media = SimulatedMedia::new(4096);
    media.medium().store(100, b"placed").unwrap();
    let left = SimulatedMedia::left(media.persistent(), media.placed());
    assert_eq!(text(&left.placed(), 100, 6), "placed");
    assert_eq!(
        last_cut(&left, |cut| text(&cut.survivors(Survival::None), 100, 6)),
        "......"
    );
    left.medium().persist().unwrap();
    assert_eq!(text(&left.persistent(), 100, 6), "placed");
}

proptest! {
    /// Whatever was done: a cut leaves for each word what was persistent or something placed since, and all of the outcomes are
    /// among those that exhaustion lists.
    #[test]
    fn nothing_is_left_that_never_was(
        steps in prop::collection::vec(prop::option::weighted(0.8, (0u64..6, 1usize..20, 1u8..5)), 1..12),
        seed: u64,
    ) {
        let media = SimulatedMedia::new(64);
        let medium = media.medium();
        for step in &steps {
            match step {
                Some((at, len, value)) => medium.store(at * 4, &vec![*value; *len]).unwrap(),
                None => medium.persist().unwrap(),
            }
        }
        let choices = Survival::ADVERSARIAL.into_iter().chain((0..8).map(|n| Survival::Sampled(seed ^ n)));
        let choices: Vec<_> = choices.collect();
        let outcome = media.trace().each_cut(|cut| {
            if let Some(every) = cut.every_outcome(3000) {
                let every: BTreeSet<u64> = every.map(|image| image.fingerprint()).collect();
                prop_assert!(Some(every.len() as u64) <= cut.outcomes());
                for choice in &choices {
                    prop_assert!(every.contains(&cut.survivors(*choice).fingerprint()), "{:?}", choice);
                }
            }
            prop_assert_eq!(&cut.survivors(Survival::All), cut.placed());
            prop_assert_eq!(&cut.survivors(Survival::None), cut.persistent());
            Ok(())
        });
        outcome?;
    }
}

#[test]
fn a_poisoned_line_is_unreadable_until_it_is_written_whole() {
    let media = SimulatedMedia::new(4096);
    let medium = media.medium();
    media.poison(130);
    medium.load(64, &mut [0; 64]).unwrap();
    medium.load(192, &mut [0; 64]).unwrap();
    medium.load(130, &mut []).unwrap();
    for (at, len) in [(127, 2), (191, 1), (0, 4096)] {
        let error = medium.load(at, &mut vec![0; len]).unwrap_err();
        assert!(matches!(error, MediaError::Load { .. }), "{error}");
    }
    medium.store(128, &[1; 63]).unwrap();
    medium.load(128, &mut [0; 1]).unwrap_err();
    medium.store(128, &[1; 64]).unwrap();
    medium.load(0, &mut [0; 4096]).unwrap();
    medium.persist().unwrap();
}

#[test]
fn a_flush_that_fails_or_is_short_ends_the_medium_and_leaves_nothing_certain() {
    for (fault, certain) in [(FlushFault::Fails, "........"), (FlushFault::Short, "aaaaaaaa")] {
        let media = SimulatedMedia::new(4096);
        let medium = media.medium();
        medium.store(0, b"aaaaaaaabbbbbbbb").unwrap();
        media.fail_flushes(Some(fault));
        assert!(matches!(medium.persist(), Err(MediaError::Poisoned { .. })));
        media.fail_flushes(None);
        let refused = [medium.persist(), medium.store(0, b"x"), medium.load(0, &mut [0])];
        let poisoned = |outcome| matches!(outcome, Err(MediaError::Poisoned { .. }));
        assert!(refused.into_iter().all(poisoned));
        assert_eq!(
            text(&last_cut(&media, |cut| cut.survivors(Survival::None)), 0, 8),
            certain
        );
        assert_eq!(
            text(&last_cut(&media, |cut| cut.survivors(Survival::All)), 8, 8),
            "bbbbbbbb"
        );
    }
}

#[test]
fn a_full_device_takes_what_fits_and_says_so() {
    let media = SimulatedMedia::new(4096);
    let medium = media.medium();
    media.fill_up(Some(20));
    medium.store(0, &[1; 16]).unwrap();
    let full = |medium: &Medium| match medium.store(16, &[2; 16]).unwrap_err() {
        MediaError::Store {
            at: 16,
            len: 16,
            source,
        } => assert_eq!(source.kind(), ErrorKind::StorageFull),
        error => panic!("{error}"),
    };
    full(&medium);
    full(&medium);
    medium.zero(0, 1).unwrap_err();
    let mut found = [0; 32];
    medium.load(0, &mut found).unwrap();
    assert_eq!((found[15], found[19], found[20]), (1, 2, 0));
    media.fill_up(None);
    medium.store(16, &[2; 16]).unwrap();
    medium.persist().unwrap();
}

#[test]
fn one_bit_of_the_store_that_was_named_is_written_otherwise() {
    let media = SimulatedMedia::new(4096);
    let medium = media.medium();
    media.flip_in(Some(b"named"));
    medium.store(0, b"another").unwrap();
    assert!(media.will_flip());
    medium.store(64, b"the named store").unwrap();
    assert!(!media.will_flip());
    medium.store(128, b"the named store").unwrap();
    let flipped = |at: u64, wanted: &str| {
        let found = text(&media.placed(), at, wanted.len());
        let pairs = found.bytes().zip(wanted.bytes());
        pairs
            .map(|(found, wanted)| (found ^ wanted).count_ones())
            .sum::<u32>()
    };
    assert_eq!(
        [
            flipped(0, "another"),
            flipped(64, "the named store"),
            flipped(128, "the named store")
        ],
        [0, 1, 0]
    );
}
