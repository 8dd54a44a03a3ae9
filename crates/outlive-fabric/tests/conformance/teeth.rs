//! A provider that breaks a rule is caught, by the case that is about it.

use std::thread;

use outlive_fabric::conformance::{Case, Verdict, cases};

use crate::broken::{Broken, Bug, switch_on};

const CAUGHT: [(Bug, &str); 36] = [
    (Bug::DropsAWrite, "any_offset_and_length"),
    (Bug::DropsAWrite, "every_offset_and_length_around_every_border"),
    (Bug::PlacesBesideIt, "every_offset_and_length_around_every_border"),
    (Bug::WritesWholeWords, "neighbours_are_never_disturbed"),
    (Bug::ForgetsParts, "parts_are_placed_side_by_side"),
    (Bug::CutsLongReads, "odd_and_large_sizes"),
    (Bug::RefusesTheLongest, "the_longest_operations_and_longer_ones"),
    (Bug::RefusesNothingAtAll, "nothing_at_all_is_an_operation_too"),
    (Bug::SwapsCompletions, "completions_come_in_the_order_of_posting"),
    (Bug::CompletesTwice, "completions_come_in_the_order_of_posting"),
    (
        Bug::ForgetsBeyondItsWindow,
        "more_operations_than_the_window_holds",
    ),
    (
        Bug::AcknowledgesBeforePlacing,
        "what_is_placed_is_seen_by_everybody",
    ),
    (Bug::AcknowledgesBeforePlacing, "written_told_and_read"),
    (Bug::ReadsStale, "a_read_sees_the_writes_before_it"),
    (Bug::BoundsAreOneTooWide, "one_byte_too_far_is_refused"),
    (Bug::BoundsAreOneTooNarrow, "one_byte_too_far_is_refused"),
    (Bug::ReadersMayWrite, "readers_cannot_write"),
    (Bug::AcceptsAnyKey, "a_key_of_another_connection_is_unknown"),
    (Bug::AcceptsAnyKey, "each_of_hundreds_has_its_own_key"),
    (
        Bug::RefusalsEndConnections,
        "refusals_touch_nothing_and_the_connection_goes_on",
    ),
    (Bug::PersistsNothing, "a_persist_covers_what_was_posted_before_it"),
    (Bug::PersistsTooLittle, "every_connection_has_its_own_persists"),
    (
        Bug::PromisesPersistence,
        "a_medium_that_cannot_persist_refuses_to",
    ),
    (Bug::HidesFailedMedia, "a_failed_medium_refuses_and_says_so"),
    (
        Bug::HidesFailedFlushes,
        "after_a_failed_flush_nothing_is_acknowledged",
    ),
    (Bug::ConfirmsStopsEarly, "nothing_lands_after_a_confirmed_stop"),
    (
        Bug::ConfirmsStopsEarly,
        "a_stop_amid_large_writes_of_several_connections",
    ),
    (Bug::StopsEverybody, "a_stop_is_for_its_connection_only"),
    (
        Bug::HidesWhyItStopped,
        "an_idle_connection_learns_that_it_was_stopped",
    ),
    (Bug::AssumesPlaced, "a_silent_target_is_given_up"),
    (Bug::GivesUpIdle, "a_silent_target_is_given_up"),
    (Bug::TicketsAreGoodTwice, "a_ticket_is_good_for_one_connection"),
    (Bug::TrustsImpostors, "an_impostor_is_given_nothing"),
    (Bug::TellsAnOldIncarnation, "another_incarnation_says_so"),
    (
        Bug::LeavesConnectionsOpen,
        "the_target_learns_that_a_connection_closed",
    ),
    (Bug::FailsIdleWaits, "a_wait_for_nothing_ends_with_its_timeout"),
];

#[test]
fn every_broken_rule_is_caught_by_the_case_that_is_about_it() {
    let cases = cases::<Broken>();
    let mut uncaught = Vec::new();
    for (bug, name) in CAUGHT {
        let case = cases.iter().find(|case| case.name == name);
        match with(bug, *case.expect("it is on the list")) {
            Verdict::Failed(why) => println!("{bug:?}: {name}: {}", why.lines().next().unwrap_or_default()),
            verdict => uncaught.push((bug, name, verdict)),
        }
    }
    assert_eq!(uncaught, []);
}

/// The wrapper by itself breaks nothing: what is caught above are the bugs.
#[test]
fn the_wrapper_without_a_bug_passes_what_catches_bugs() {
    let cases = cases::<Broken>();
    for (_, name) in CAUGHT {
        let case = cases.iter().find(|case| case.name == name);
        let verdict = with(Bug::None, *case.expect("it is on the list"));
        assert_eq!(verdict, Verdict::Passed, "{name}");
    }
}

fn with(bug: Bug, case: Case) -> Verdict {
    let checking = thread::spawn(move || {
        switch_on(bug);
        case.check()
    });
    checking.join().expect("a case's panic is its verdict")
}
