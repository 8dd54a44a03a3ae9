//! The sets workload: clients add elements, each once; what was acknowledged is there when all is over.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::random::Random;

/// What is known of the elements, while clients add them.
#[derive(Debug, Default)]
pub struct Adds {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Acknowledged, or seen in a read: there from then on. In this order.
    there: Vec<u64>,
    /// Sent, and nothing heard.
    unknown: BTreeSet<u64>,
    next: u64,
    doubled: Vec<u64>,
    missing: Vec<u64>,
}

/// What a comparison with a read of everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SetsVerdict {
    /// Elements whose addition was acknowledged, or that were seen.
    pub acknowledged: u64,
    /// Acknowledged and not in the read: each is a loss.
    pub lost: Vec<u64>,
    /// In the read and never sent.
    pub unexpected: Vec<u64>,
    /// New by their first reply, and there already: carried out before they were asked for, or twice.
    pub doubled: Vec<u64>,
    /// Acknowledged, and missing when a client asked for them meanwhile.
    pub missing_meanwhile: Vec<u64>,
    /// Sent, not acknowledged, and there: no fault.
    pub recovered: u64,
}

impl SetsVerdict {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        [
            &self.lost,
            &self.unexpected,
            &self.doubled,
            &self.missing_meanwhile,
        ]
        .iter()
        .all(|wrong| wrong.is_empty())
    }
}

impl Adds {
    /// A new element, which counts as sent.
    pub fn send(&self) -> u64 {
        let mut known = lock(&self.known);
        let element = known.next;
        known.next += 1;
        known.unknown.insert(element);
        element
    }

    /// The addition was acknowledged; `new` is what the reply said.
    pub fn acknowledge(&self, element: u64, new: bool) {
        let mut known = lock(&self.known);
        if known.unknown.remove(&element) {
            known.there.push(element);
        }
        if !new {
            known.doubled.push(element);
        }
    }

    /// It was refused: never carried out.
    pub fn refuse(&self, element: u64) {
        lock(&self.known).unknown.remove(&element);
    }

    /// An element that must be there now, most often a young one.
    pub(crate) fn pick(&self, random: &mut Random) -> Option<u64> {
        let known = lock(&self.known);
        let recent = known.there.len().min(64);
        let from = if random.permille(700) {
            known.there.len() - recent
        } else {
            0
        };
        let place = from + random.index(known.there.len() - from);
        known.there.get(place).copied()
    }

    /// A read said whether an element that must be there is.
    pub fn note(&self, element: u64, there: bool) {
        if !there {
            lock(&self.known).missing.push(element);
        }
    }

    /// How many were sent.
    pub fn sent(&self) -> u64 {
        lock(&self.known).next
    }

    /// Compares with everything that a last read found.
    pub fn judge(&self, read: &BTreeSet<u64>) -> SetsVerdict {
        let known = lock(&self.known);
        let there: BTreeSet<u64> = known.there.iter().copied().collect();
        SetsVerdict {
            acknowledged: there.len() as u64,
            lost: there.difference(read).copied().collect(),
            unexpected: read
                .iter()
                .copied()
                .filter(|element| !there.contains(element) && !known.unknown.contains(element))
                .collect(),
            doubled: known.doubled.clone(),
            missing_meanwhile: known.missing.clone(),
            recovered: read.intersection(&known.unknown).count() as u64,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements 0 and 1 acknowledged, 2 unknown, 3 refused.
    fn adds() -> Adds {
        let adds = Adds::default();
        for _ in 0..4 {
            adds.send();
        }
        adds.acknowledge(0, true);
        adds.acknowledge(1, true);
        adds.refuse(3);
        adds
    }

    fn read(elements: &[u64]) -> BTreeSet<u64> {
        elements.iter().copied().collect()
    }

    #[test]
    fn what_nobody_heard_of_may_be_there_or_not() {
        assert!(adds().judge(&read(&[0, 1])).holds());
        let verdict = adds().judge(&read(&[0, 1, 2]));
        assert!(verdict.holds());
        assert_eq!((verdict.acknowledged, verdict.recovered), (2, 1));
    }

    #[test]
    fn a_lost_addition_is_caught() {
        let verdict = adds().judge(&read(&[0, 2]));
        assert_eq!(verdict.lost, [1]);
        assert!(!verdict.holds());
    }

    #[test]
    fn what_was_never_sent_or_was_refused_is_caught() {
        let verdict = adds().judge(&read(&[0, 1, 3, 77]));
        assert_eq!(verdict.unexpected, [3, 77]);
        assert!(!verdict.holds());
    }

    #[test]
    fn an_addition_that_was_done_twice_is_caught() {
        let adds = adds();
        let element = adds.send();
        adds.acknowledge(element, false);
        let verdict = adds.judge(&read(&[0, 1, 4]));
        assert_eq!(verdict.doubled, [4]);
        assert!(!verdict.holds());
    }

    #[test]
    fn one_that_was_missing_for_a_while_is_caught() {
        let adds = adds();
        adds.note(0, false);
        adds.note(1, true);
        let verdict = adds.judge(&read(&[0, 1]));
        assert_eq!(verdict.missing_meanwhile, [0]);
        assert!(!verdict.holds());
    }
}
