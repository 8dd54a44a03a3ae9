//! Decisions of the state machine, one by one. How they play together is the simulation's matter.

use crate::batch::{self, Record};
use crate::testing::Counter;
use crate::{CallError, ReplyBounds, Request, Role};

use super::event::{Ask, Call, Cause, Clock, Effect, Event, Fed, Journal};
use super::node::{Limits, Node};
use crate::output::CallId;

const REPLIES: ReplyBounds = ReplyBounds {
    sessions: 4,
    replies_per_session: 4,
    bytes: 1000,
};
const EMPTY: Journal = Journal {
    used: 0,
    capacity: 100_000,
};
const FULL: Journal = Journal {
    used: 99_900,
    capacity: 100_000,
};

fn limits() -> Limits {
    Limits {
        batch_requests: 3,
        batch_bytes: 1000,
        snapshot_at: 0.5,
        replies: REPLIES,
        takeovers: 2,
        window_ms: 1000,
    }
}

fn node() -> Node<Counter> {
    Node::new(Counter::default(), limits())
}

fn at(ms: u64) -> Clock {
    Clock {
        mono_ms: ms,
        unix_ms: ms,
    }
}

fn calls(bodies: &[&str]) -> Vec<Call> {
    let call = |(i, body): (usize, &&str)| Call {
        id: CallId(i as u64),
        ask: Ask::Request(Request::plain(*body)),
    };
    bodies.iter().enumerate().map(call).collect()
}

fn primary() -> Node<Counter> {
    primary_with(limits())
}

fn primary_with(limits: Limits) -> Node<Counter> {
    let mut node = Node::new(Counter::default(), limits);
    assert_eq!(node.handle(at(0), Event::Start), [Effect::OpenPrimary]);
    let effects = node.handle(
        at(0),
        Event::Opened {
            generation: 1,
            sets: vec![],
            journal: EMPTY,
        },
    );
    assert!(matches!(&effects[..], [Effect::Append { answers, .. }] if answers.is_empty()));
    assert_eq!(node.role(), Role::Primary);
    node
}

fn backup() -> Node<Counter> {
    let mut node = node();
    node.handle(at(0), Event::Start);
    assert_eq!(node.handle(at(0), Event::Owned), [Effect::OpenBackup]);
    node.handle(at(0), Event::Following);
    assert_eq!(node.role(), Role::Backup);
    node
}

fn began(generation: u64, at_ms: u64) -> Fed {
    Fed::Update(batch::encode(&Record::Began {
        at_ms,
        generation,
        bounds: REPLIES.into(),
    }))
}

/// How many requests each appended set answers.
fn batches(effects: &[Effect]) -> Vec<usize> {
    let answers = |effect: &Effect| match effect {
        Effect::Append { answers, .. } => Some(answers.len()),
        _ => None,
    };
    effects.iter().filter_map(answers).collect()
}

fn refusals(effects: &[Effect]) -> Vec<&CallError> {
    let mut errors = Vec::new();
    for effect in effects {
        if let Effect::Answer(answers) = effect {
            errors.extend(answers.iter().filter_map(|answer| answer.result.as_ref().err()));
        }
    }
    errors
}

#[test]
fn calls_become_bounded_sets_and_reads_alone_a_confirmation() {
    let mut node = primary();
    let effects = node.handle(
        at(1),
        Event::Calls {
            calls: calls(&["add 1"; 7]),
            journal: EMPTY,
        },
    );
    assert_eq!(batches(&effects), [3, 3, 1]);
    let effects = node.handle(
        at(1),
        Event::Calls {
            calls: calls(&["get", "get"]),
            journal: EMPTY,
        },
    );
    assert!(
        matches!(&effects[..], [Effect::Confirm { answers }] if answers.len() == 2),
        "{effects:?}"
    );
}

#[test]
fn reads_alone_journal_the_time_when_it_has_moved() {
    let mut node = primary();
    let get = || Event::Calls {
        calls: calls(&["get"]),
        journal: EMPTY,
    };
    assert!(matches!(node.handle(at(5), get())[..], [Effect::Confirm { .. }]));
    assert!(matches!(node.handle(at(50), get())[..], [Effect::Append { .. }]));
    assert!(matches!(node.handle(at(51), get())[..], [Effect::Confirm { .. }]));
}

#[test]
fn a_full_journal_saves_a_snapshot_and_then_goes_on() {
    let mut node = primary();
    let effects = node.handle(
        at(1),
        Event::Calls {
            calls: calls(&["add 1"]),
            journal: FULL,
        },
    );
    assert!(matches!(&effects[..], [Effect::Save { .. }]), "{effects:?}");
    assert!(!node.takes_calls());
    let effects = node.handle(at(2), Event::Saved { journal: EMPTY });
    assert_eq!(batches(&effects), [1]);
    assert!(node.takes_calls());
}

#[test]
fn a_snapshot_that_makes_no_room_or_cannot_be_saved_refuses_and_is_tried_again() {
    let mut node = primary();
    let add = || Event::Calls {
        calls: calls(&["add 1"]),
        journal: FULL,
    };
    node.handle(at(1), add());
    let effects = node.handle(at(2), Event::Saved { journal: FULL });
    assert!(
        matches!(refusals(&effects)[..], [CallError::Full { .. }]),
        "{effects:?}"
    );
    node.handle(at(3), add());
    let effects = node.handle(
        at(4),
        Event::SaveFailed {
            why: "too large".into(),
        },
    );
    assert!(
        matches!(refusals(&effects)[..], [CallError::Full { .. }]),
        "{effects:?}"
    );
    let effects = node.handle(at(5), add());
    assert!(
        matches!(refusals(&effects)[..], [CallError::Full { .. }]),
        "not tried again at once: {effects:?}"
    );
    let effects = node.handle(at(5000), add());
    assert!(
        matches!(&effects[..], [Effect::Save { .. }]),
        "tried again later: {effects:?}"
    );
}

#[test]
fn the_room_that_a_set_may_skip_at_the_rings_end_counts_until_the_region_tells() {
    let limits = Limits {
        batch_requests: 1,
        batch_bytes: 100_000,
        ..limits()
    };
    let mut node = primary_with(limits);
    let (long, short) = (
        "add ".to_owned() + &"0".repeat(90_000),
        "add ".to_owned() + &"0".repeat(40_000),
    );
    // Enough for the long one wherever the ring ends, and then hardly anything is left in the worst case.
    let journal = Journal {
        used: 1_000_000 - 2 * (90_000 + 400),
        capacity: 1_000_000,
    };
    let calls = calls(&[&long, &short]);
    let effects = node.handle(at(1), Event::Calls { calls, journal });
    assert_eq!(batches(&effects), [1]);
    assert!(
        matches!(effects.last(), Some(Effect::Save { .. })),
        "the other one waits for room"
    );
}

#[test]
fn a_request_that_never_fits_is_refused_alone() {
    let mut node = primary();
    let large = "x".repeat(2000);
    let effects = node.handle(
        at(1),
        Event::Calls {
            calls: calls(&["add 1", &large, "add 1"]),
            journal: EMPTY,
        },
    );
    assert_eq!(batches(&effects), [1, 1]);
    assert!(matches!(refusals(&effects)[..], [CallError::TooLarge { .. }]));
}

#[test]
fn a_member_ahead_of_the_unit_saves_what_it_knows_before_it_serves() {
    let mut node = backup();
    assert_eq!(
        node.handle(at(1), Event::Suspected(Cause::OwnerLost)),
        [Effect::TakeOver]
    );
    let taken = Event::TookOver {
        generation: 2,
        unread: vec![],
        ahead: true,
        journal: EMPTY,
    };
    let effects = node.handle(at(2), taken);
    assert!(matches!(&effects[..], [Effect::Save { .. }]), "{effects:?}");
    assert_eq!(node.role(), Role::TakingOver);
    let effects = node.handle(at(3), Event::Saved { journal: EMPTY });
    assert!(matches!(&effects[..], [Effect::Append { .. }]));
    assert_eq!(node.role(), Role::Primary);
}

#[test]
fn a_takeover_that_fails_is_tried_again_later_and_given_up_when_the_primary_lives() {
    let mut node = backup();
    let suspected = || Event::Suspected(Cause::Silent);
    node.handle(at(1), suspected());
    node.handle(
        at(2),
        Event::TakeoverFailed {
            why: "unreachable".into(),
            fatal: false,
        },
    );
    assert_eq!(node.role(), Role::Suspecting);
    assert_eq!(node.handle(at(3), suspected()), []);
    assert_eq!(node.handle(at(100), suspected()), [Effect::TakeOver]);
    node.handle(
        at(101),
        Event::TakeoverFailed {
            why: "unreachable".into(),
            fatal: false,
        },
    );
    node.handle(at(102), Event::Reassured);
    assert_eq!(node.role(), Role::Backup);
    node.handle(at(103), suspected());
    node.handle(at(104), Event::LostRace);
    assert_eq!(node.role(), Role::Backup);
}

#[test]
fn handing_over_ends_the_journal_drains_closes_and_leaves_the_region_to_others_for_a_while() {
    let mut node = primary();
    let effects = node.handle(at(1), Event::SwitchoverAsked);
    assert!(matches!(effects.last(), Some(Effect::Drain)), "{effects:?}");
    let effects = node.handle(
        at(1),
        Event::Calls {
            calls: calls(&["add 1"]),
            journal: EMPTY,
        },
    );
    assert!(matches!(refusals(&effects)[..], [CallError::NotPrimary { .. }]));
    assert_eq!(node.handle(at(2), Event::Drained), [Effect::Close]);
    assert_eq!(
        node.handle(at(3), Event::Closed),
        [Effect::Abandon, Effect::OpenBackup]
    );
    node.handle(at(4), Event::Following);
    assert_eq!(node.handle(at(5), Event::Suspected(Cause::Closed)), []);
    assert_eq!(
        node.handle(at(5), Event::Suspected(Cause::OwnerLost)),
        [Effect::TakeOver],
        "another's failure"
    );
    node.handle(at(6), Event::LostRace);
    assert_eq!(
        node.handle(at(5000), Event::Suspected(Cause::Closed)),
        [Effect::TakeOver]
    );
}

#[test]
fn a_fenced_primary_becomes_backup_and_one_that_lost_the_unit_starts_over() {
    let mut node = primary();
    let effects = node.handle(at(1), Event::Lost { fenced: true });
    assert_eq!(
        (effects.first(), effects.last()),
        (Some(&Effect::Abandon), Some(&Effect::OpenBackup))
    );
    let mut node = primary();
    node.handle(at(1), Event::Lost { fenced: false });
    assert_eq!(node.role(), Role::Starting);
    assert_eq!(node.handle(at(1000), Event::Tick), [Effect::OpenPrimary]);
}

#[test]
fn unclean_takeovers_within_the_window_stop_the_pair_and_clean_ones_do_not_count() {
    let mut node = backup();
    node.handle(at(1), Event::Fresh((1..=3).map(|n| began(n, 100 * n)).collect()));
    assert_eq!(
        node.handle(at(2000), Event::Suspected(Cause::OwnerLost)),
        [Effect::TakeOver],
        "long ago"
    );

    let mut node = backup();
    node.handle(at(1), Event::Fresh((1..=3).map(|n| began(n, 100 * n)).collect()));
    let effects = node.handle(at(400), Event::Suspected(Cause::OwnerLost));
    assert_eq!(effects.first(), Some(&Effect::Abandon));
    assert!(
        node.stopped()
            .is_some_and(|why| why.contains("crash loop: 2 takeovers")),
        "{:?}",
        node.stopped()
    );

    let mut node = backup();
    assert_eq!(
        node.handle(at(400), Event::Suspected(Cause::OwnerLost)),
        [Effect::TakeOver],
        "nothing read yet"
    );
    let unread = (1..=3).map(|n| began(n, 100 * n)).collect();
    let taken = Event::TookOver {
        generation: 4,
        unread,
        ahead: false,
        journal: EMPTY,
    };
    assert_eq!(node.handle(at(401), taken).first(), Some(&Effect::Close));
    assert!(
        node.stopped()
            .is_some_and(|why| why.contains("crash loop: 2 takeovers")),
        "{:?}",
        node.stopped()
    );

    let mut node = backup();
    let ended = Fed::Update(batch::encode(&Record::Ended { at_ms: 350 }));
    node.handle(
        at(1),
        Event::Fresh((1..=3).map(|n| began(n, 100 * n)).chain([ended]).collect()),
    );
    assert_eq!(
        node.handle(at(400), Event::Suspected(Cause::Closed)),
        [Effect::TakeOver],
        "handed over"
    );
}

#[test]
fn what_is_not_a_pairs_journal_stops_the_member_with_a_message() {
    let mut node = backup();
    node.handle(at(1), Event::Fresh(vec![Fed::Update(b"something else".to_vec())]));
    assert_eq!(node.role(), Role::Stopped);
    assert!(
        node.stopped()
            .is_some_and(|why| why.contains("the pair's region holds"))
    );
    let effects = node.handle(
        at(2),
        Event::Calls {
            calls: calls(&["get"]),
            journal: EMPTY,
        },
    );
    assert!(matches!(refusals(&effects)[..], [CallError::Stopped { .. }]));
}
