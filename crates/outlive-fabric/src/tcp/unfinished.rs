//! Handshakes that are not finished: bounded, and never so that a flood locks others out.
//!
//! When there is no place for a newcomer, another is given up for it: the oldest of the source that holds most, first
//! one that was refused and is only told why, then one that has not named a ticket that exists. So whoever
//! opens connections and says nothing drives out itself. For a moment after its beginning nobody is given up: that is
//! all that a holder of a ticket needs. Until then the newcomer waits, in the system's queue.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::ConnectionId;

/// So long a handshake is left alone: a round trip and a thread that has to be woken on a busy machine. It bounds what
/// a flood can have accepted, at the default limits, to some thousand connections a second.
const GRACE: Duration = Duration::from_millis(20);

/// Who connects, as far as it can be told: an IPv4 address, or the half of an IPv6 address that names a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Source(u128);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u128::from(u32::from(address))),
            // A host has all of its network's addresses to connect from.
            IpAddr::V6(address) => Self(u128::from(address) & !u128::from(u64::MAX)),
        }
    }
}

/// The unfinished handshakes of a listener.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// In the order of their beginning.
    waiting: Vec<Waiting>,
    bound: usize,
    bound_per_source: usize,
}

#[derive(Debug)]
struct Waiting {
    connection: ConnectionId,
    source: Source,
    begun: Instant,
    stage: Stage,
}

/// How far a handshake is; those that are given up first come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It was refused; what is left is telling why.
    Refused,
    /// It has not named a ticket that exists.
    Silent,
    /// It has, and owes the proof.
    Challenged,
}

impl Unfinished {
    pub(super) fn new(bound: usize, bound_per_source: usize) -> Self {
        Self {
            waiting: Vec::new(),
            bound: bound.max(1),
            bound_per_source: bound_per_source.max(1),
        }
    }

    /// Takes a newcomer in. Whom it drives out is to be stopped.
    ///
    /// # Errors
    /// When to try again, while nobody can be driven out yet.
    pub(super) fn begin(
        &mut self,
        connection: ConnectionId,
        source: Source,
        now: Instant,
    ) -> Result<Option<ConnectionId>, Instant> {
        let of_source = self.waiting.iter().filter(|waiting| waiting.source == source);
        let candidate = if of_source.count() >= self.bound_per_source {
            self.first_of(source)
        } else if self.waiting.len() >= self.bound {
            self.largest().and_then(|largest| self.first_of(largest))
        } else {
            None
        };
        let driven_out = match candidate {
            None => None,
            Some(candidate) => {
                let grace_ends = candidate.begun + GRACE;
                if candidate.stage != Stage::Refused && grace_ends > now {
                    return Err(grace_ends);
                }
                Some(candidate.connection)
            }
        };
        if let Some(connection) = driven_out {
            self.end(connection);
        }
        self.waiting.push(Waiting {
            connection,
            source,
            begun: now,
            stage: Stage::Silent,
        });
        Ok(driven_out)
    }

    /// A handshake has come as far as `stage`.
    pub(super) fn reach(&mut self, connection: ConnectionId, stage: Stage) {
        let mut waiting = self.waiting.iter_mut();
        if let Some(waiting) = waiting.find(|waiting| waiting.connection == connection) {
            waiting.stage = stage;
        }
    }

    /// A handshake is finished, or was given up. Whether it was still among them.
    pub(super) fn end(&mut self, connection: ConnectionId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.connection != connection);
        self.waiting.len() < before
    }

    /// The source that holds most; of several the one that has waited longest.
    fn largest(&self) -> Option<Source> {
        let mut counts: HashMap<Source, usize> = HashMap::new();
        for waiting in &self.waiting {
            *counts.entry(waiting.source).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        let mut waiting = self.waiting.iter();
        waiting
            .find(|waiting| counts[&waiting.source] == most)
            .map(|waiting| waiting.source)
    }

    /// Who of a source is given up first.
    fn first_of(&self, source: Source) -> Option<&Waiting> {
        let of_source = self.waiting.iter().filter(|waiting| waiting.source == source);
        // Of several that came as far, the first is the oldest.
        of_source.min_by_key(|waiting| waiting.stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Source::of(IpAddr::from([10, 0, 0, last]))
    }

    fn id(number: u64) -> ConnectionId {
        ConnectionId(number)
    }

    /// Begins each a grace after the one before, so that it is only the order that counts.
    struct Slowly(Unfinished, Instant);

    impl Slowly {
        fn new(bound: usize, bound_per_source: usize) -> Self {
            Self(Unfinished::new(bound, bound_per_source), Instant::now())
        }

        fn begin(&mut self, number: u64, from: u8) -> Option<ConnectionId> {
            self.1 += GRACE;
            self.0
                .begin(id(number), source(from), self.1)
                .expect("graces are over")
        }
    }

    #[test]
    fn a_flood_drives_out_itself() {
        let mut unfinished = Slowly::new(4, 4);
        assert_eq!(unfinished.begin(1, 1), None);
        for number in 2..=4 {
            assert_eq!(unfinished.begin(number, 2), None);
        }
        for number in 5..100 {
            assert_eq!(unfinished.begin(number, 2), Some(id(number - 3)));
        }
        assert_eq!(unfinished.begin(100, 3), Some(id(97)));
        assert_eq!(unfinished.0.waiting.len(), 4);
    }

    #[test]
    fn one_source_has_a_part_of_the_places_only() {
        let mut unfinished = Slowly::new(8, 2);
        assert_eq!(unfinished.begin(1, 1), None);
        assert_eq!(unfinished.begin(2, 1), None);
        assert_eq!(unfinished.begin(3, 1), Some(id(1)));
        assert_eq!(unfinished.begin(4, 2), None);
    }

    #[test]
    fn who_was_refused_gives_way_first_and_who_named_a_ticket_last() {
        let mut unfinished = Slowly::new(3, 3);
        for number in 1..=3 {
            unfinished.begin(number, 1);
        }
        unfinished.0.reach(id(1), Stage::Challenged);
        unfinished.0.reach(id(3), Stage::Refused);
        assert_eq!(unfinished.begin(4, 1), Some(id(3)));
        assert_eq!(unfinished.begin(5, 1), Some(id(2)));
        unfinished.0.reach(id(4), Stage::Challenged);
        unfinished.0.reach(id(5), Stage::Challenged);
        assert_eq!(unfinished.begin(6, 1), Some(id(1)));
    }

    #[test]
    fn for_a_moment_nobody_is_driven_out() {
        let (mut unfinished, now) = (Unfinished::new(1, 1), Instant::now());
        assert_eq!(unfinished.begin(id(1), source(1), now), Ok(None));
        let early = now + GRACE / 2;
        assert_eq!(unfinished.begin(id(2), source(1), early), Err(now + GRACE));
        assert_eq!(unfinished.begin(id(2), source(1), now + GRACE), Ok(Some(id(1))));
        unfinished.reach(id(2), Stage::Refused);
        assert_eq!(unfinished.begin(id(3), source(1), now + GRACE), Ok(Some(id(2))));
    }

    #[test]
    fn who_is_through_makes_room() {
        let (mut unfinished, now) = (Unfinished::new(1, 1), Instant::now());
        assert_eq!(unfinished.begin(id(1), source(1), now), Ok(None));
        assert!(unfinished.end(id(1)));
        assert!(!unfinished.end(id(1)));
        assert_eq!(unfinished.begin(id(2), source(1), now), Ok(None));
    }

    #[test]
    fn a_network_of_addresses_is_one_source() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), source(1));
        assert_ne!(source(1), source(2));
    }
}
