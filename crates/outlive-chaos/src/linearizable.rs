//! Whether a key's history could have come from one key of one server that carries out one operation after the other.
//!
//! The search is [`todc_utils`]': the algorithm of Wing and Gong with Lowe's memory of states, as in Porcupine.
//! Ours are the specification of a key, the translation of what nobody knows, and a bound on the search.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use todc_utils::specifications::Specification;
use todc_utils::{Action, WGLChecker};

use crate::history::{Entry, Operation, Reply};

/// Steps of the search for one key before it is given up. Histories of [a key's length](crate::clients) need about one
/// for each pair of entries; each step may remember a state of a byte an entry, so this also bounds memory, to some hundred MiB.
const MOST_STEPS: u64 = 1_000_000;

/// What came of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linearizable {
    /// There is an order that explains every reply.
    Yes,
    /// There is none.
    No,
    /// The search was given up: it is not known.
    Undecided,
}

/// Searches an order for one key's entries that explains every reply and respects time.
pub fn check(entries: &[Entry]) -> Linearizable {
    check_within(entries, MOST_STEPS)
}

fn check_within(entries: &[Entry], steps: u64) -> Linearizable {
    if entries.is_empty() {
        return Linearizable::Yes;
    }
    let actions = actions(entries);
    STEPS_LEFT.set(steps);
    let searched = catch_unwind(AssertUnwindSafe(|| {
        WGLChecker::<Key>::is_linearizable(todc_utils::History::from_actions(actions))
    }));
    match searched {
        Ok(true) => Linearizable::Yes,
        Ok(false) => Linearizable::No,
        Err(reason) if reason.is::<GaveUp>() => Linearizable::Undecided,
        Err(panic) => resume_unwind(panic),
    }
}

/// In order of time. An operation of which nobody knows whether it was carried out ends after all others: carried out there, it
/// explains nothing and disturbs nothing, which is as if it never was. At equal times calls come before replies, which
/// allows more orders.
fn actions(entries: &[Entry]) -> Vec<(usize, Action<Step>)> {
    let mut events: Vec<(u64, bool, usize, Action<Step>)> = Vec::with_capacity(entries.len() * 2);
    for (number, entry) in entries.iter().enumerate() {
        let step = Step {
            operation: entry.operation,
            reply: entry.replied.map(|(_, reply)| reply),
        };
        let ended_ns = entry.replied.map_or(u64::MAX, |(ended_ns, _)| ended_ns);
        events.push((entry.called_ns, false, number, Action::Call(step)));
        events.push((ended_ns, true, number, Action::Response(step)));
    }
    events.sort_by_key(|(at, ends, number, _)| (*at, *ends, *number));
    // Each operation is a process of its own: a client that gave one up goes on with others while it is under way.
    events
        .into_iter()
        .map(|(_, _, number, action)| (number, action))
        .collect()
}

thread_local! {
    static STEPS_LEFT: Cell<u64> = const { Cell::new(0) };
}

/// Why the search ended without a result.
struct GaveUp;

#[derive(Clone, Copy, Debug)]
struct Step {
    operation: Operation,
    /// `None` if nobody knows: any reply will do.
    reply: Option<Reply>,
}

/// A key that does not exist at first. As counter, what does not exist counts as 0.
struct Key;

impl Specification for Key {
    type State = Option<u64>;
    type Operation = Step;

    fn init() -> Self::State {
        None
    }

    fn apply(step: &Step, state: &Self::State) -> (bool, Self::State) {
        let left = STEPS_LEFT.get();
        if left == 0 {
            // The search offers no other way out of it; nothing is printed.
            resume_unwind(Box::new(GaveUp));
        }
        STEPS_LEFT.set(left - 1);
        let (next, expected) = match step.operation {
            Operation::Set(value) => (Some(value), Reply::Done),
            Operation::Swap(value) => (Some(value), Reply::Value(*state)),
            Operation::Get => (*state, Reply::Value(*state)),
            Operation::Increment => {
                let next = Some(state.unwrap_or(0) + 1);
                (next, Reply::Value(next))
            }
        };
        let holds = step.reply.is_none_or(|reply| reply == expected);
        (holds, if holds { next } else { *state })
    }
}

#[cfg(test)]
mod tests {
    use super::Linearizable::{No, Undecided, Yes};
    use super::*;

    /// An operation from one time to another; without a reply it has no end.
    fn entry(from: u64, to: u64, operation: Operation, reply: Option<Reply>) -> Entry {
        Entry {
            client: 0,
            operation,
            called_ns: from,
            replied: reply.map(|reply| (to, reply)),
        }
    }

    fn set(from: u64, to: u64, value: u64) -> Entry {
        entry(from, to, Operation::Set(value), Some(Reply::Done))
    }

    fn lost_set(from: u64, value: u64) -> Entry {
        entry(from, 0, Operation::Set(value), None)
    }

    fn get(from: u64, to: u64, value: Option<u64>) -> Entry {
        entry(from, to, Operation::Get, Some(Reply::Value(value)))
    }

    fn swap(from: u64, to: u64, value: u64, before: Option<u64>) -> Entry {
        entry(from, to, Operation::Swap(value), Some(Reply::Value(before)))
    }

    fn increment(from: u64, to: u64, value: u64) -> Entry {
        entry(from, to, Operation::Increment, Some(Reply::Value(Some(value))))
    }

    #[test]
    fn what_one_server_would_have_said_holds() {
        assert_eq!(check(&[]), Yes);
        assert_eq!(check(&[get(0, 1, None), set(2, 3, 7), get(4, 5, Some(7))]), Yes);
        assert_eq!(
            check(&[set(0, 9, 1), set(0, 9, 2), get(1, 2, Some(2)), get(3, 4, Some(1))]),
            Yes
        );
        assert_eq!(
            check(&[swap(0, 9, 1, Some(2)), swap(0, 9, 2, None), get(10, 11, Some(1))]),
            Yes
        );
        assert_eq!(
            check(&[increment(0, 5, 2), increment(0, 5, 1), get(6, 7, Some(2))]),
            Yes
        );
    }

    #[test]
    fn a_stale_read_is_caught() {
        assert_eq!(
            check(&[set(0, 1, 1), set(2, 3, 2), get(4, 5, Some(1))]),
            No,
            "a read of what was overwritten before it began"
        );
        assert_eq!(
            check(&[set(0, 1, 1), set(2, 9, 2), get(3, 4, Some(2)), get(5, 6, Some(1))]),
            No,
            "a read that is older than the read before it"
        );
    }

    #[test]
    fn a_lost_write_is_caught() {
        assert_eq!(check(&[set(0, 1, 1), get(2, 3, None)]), No);
        assert_eq!(
            check(&[
                swap(0, 1, 1, None),
                swap(2, 3, 2, Some(1)),
                swap(4, 5, 3, Some(1))
            ]),
            No,
            "a write that the next one did not find"
        );
    }

    #[test]
    fn a_read_of_what_nobody_wrote_is_caught() {
        assert_eq!(check(&[set(0, 1, 1), get(2, 3, Some(9))]), No);
        assert_eq!(
            check(&[get(0, 1, Some(5)), set(2, 3, 5)]),
            No,
            "or of what comes later"
        );
    }

    #[test]
    fn an_increment_that_was_done_twice_is_caught() {
        assert_eq!(check(&[increment(0, 1, 1), increment(2, 3, 3)]), No);
        assert_eq!(check(&[increment(0, 1, 1), get(2, 3, Some(2))]), No);
    }

    #[test]
    fn one_that_was_lost_is_caught() {
        assert_eq!(check(&[increment(0, 1, 1), increment(2, 3, 1)]), No);
        assert_eq!(
            check(&[increment(0, 1, 1), increment(2, 3, 2), get(4, 5, Some(1))]),
            No
        );
    }

    #[test]
    fn what_nobody_knows_may_have_happened_at_any_later_time_or_never() {
        for read in [Some(1), Some(2)] {
            assert_eq!(check(&[set(0, 1, 1), lost_set(2, 2), get(50, 51, read)]), Yes);
        }
        assert_eq!(
            check(&[
                set(0, 1, 1),
                lost_set(2, 2),
                get(3, 4, Some(1)),
                get(50, 51, Some(2))
            ]),
            Yes,
            "later than a read"
        );
        assert_eq!(
            check(&[
                set(0, 1, 1),
                lost_set(2, 2),
                get(3, 4, Some(2)),
                get(5, 6, Some(1))
            ]),
            No,
            "but not undone"
        );
        assert_eq!(
            check(&[get(0, 1, Some(2)), lost_set(2, 2)]),
            No,
            "nor before it was asked for"
        );
    }

    #[test]
    fn a_search_that_was_given_up_is_no_success() {
        let entries: Vec<Entry> = (0..40).map(|at| set(at, 1000, at)).collect();
        assert_eq!(check_within(&entries, 10), Undecided);
        assert_eq!(check(&entries), Yes);
        // Nothing is left behind for the next search on this thread.
        assert_eq!(check(&[set(0, 1, 1), get(2, 3, Some(1))]), Yes);
    }
}
