//! Failed attempts to connect, rationed per source.
//!
//! A source that fails more often than its ration is no longer told why, and its connections are not kept to
//! let it read that: each costs a bounded moment and nothing more. Whoever comes with a valid ticket is let in
//! all the same, since many may share an address.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::unfinished::Source;

/// Failed attempts that a source is answered at once: a program that starts with old tickets, or a person who tries.
const BURST: u32 = 32;
/// Time after which one more is answered: eight a second.
const REFILL: Duration = Duration::from_millis(125);
/// Sources that are remembered. The one that failed longest ago makes room, which only gives it its ration anew.
const MAX_SOURCES: usize = 1024;

/// What each source has left.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// When a source's ration will be whole again.
    whole_at: HashMap<Source, Instant>,
}

impl Failures {
    /// Notes a failed attempt. Whether it is still within the ration.
    pub(super) fn note(&mut self, source: Source, now: Instant) -> bool {
        if !self.whole_at.contains_key(&source) && self.whole_at.len() >= MAX_SOURCES {
            self.make_room(now);
        }
        let whole_at = self.whole_at.entry(source).or_insert(now);
        let after = (*whole_at).max(now) + REFILL;
        if after > now + REFILL * BURST {
            return false;
        }
        *whole_at = after;
        true
    }

    fn make_room(&mut self, now: Instant) {
        self.whole_at.retain(|_, whole_at| *whole_at > now);
        if self.whole_at.len() < MAX_SOURCES {
            return;
        }
        let nearest = self.whole_at.iter().min_by_key(|(_, whole_at)| **whole_at);
        if let Some(source) = nearest.map(|(source, _)| *source) {
            self.whole_at.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn a_source_has_a_burst_and_then_a_rate_and_others_have_theirs() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for _ in 0..BURST {
            assert!(failures.note(source(1), now));
        }
        assert!(!failures.note(source(1), now));
        assert!(failures.note(source(2), now));
        assert!(failures.note(source(1), now + REFILL));
        assert!(!failures.note(source(1), now + REFILL));
        for _ in 0..BURST {
            assert!(failures.note(source(1), now + REFILL * (BURST + 1)));
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for number in 0..10_000 {
            assert!(failures.note(source(number), now));
            assert!(failures.whole_at.len() <= MAX_SOURCES);
        }
    }
}
