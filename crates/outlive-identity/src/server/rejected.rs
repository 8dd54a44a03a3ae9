//! Those who were not let in, told no more often than is good for the log.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::Name;

/// Failures of one source told at once; one more each second after that.
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(1);
/// Sources remembered. One that was forgotten begins with a full burst again.
const MAX_SOURCES: usize = 1024;

/// Somebody who was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// From where.
    pub source: SocketAddr,
    /// Whom the certificate named, if one was shown: a claim, not a proof.
    pub claimed: Option<Name>,
    /// Why.
    pub reason: String,
    /// Failures of the same source before this one that were not told.
    pub untold: u64,
}

/// A token bucket for each source.
#[derive(Debug, Default)]
pub(super) struct Telling {
    sources: HashMap<IpAddr, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    filled: Instant,
    untold: u64,
}

impl Telling {
    /// Whether a failure of `source` is to be told now, and how many before it were not.
    pub(super) fn tell(&mut self, source: IpAddr, now: Instant) -> Option<u64> {
        if !self.sources.contains_key(&source) && self.sources.len() >= MAX_SOURCES {
            self.forget_the_quietest();
        }
        let bucket = self.sources.entry(source).or_insert(Bucket {
            tokens: BURST,
            filled: now,
            untold: 0,
        });
        bucket.refill(now);
        if bucket.tokens == 0 {
            bucket.untold += 1;
            return None;
        }
        bucket.tokens -= 1;
        Some(std::mem::take(&mut bucket.untold))
    }

    fn forget_the_quietest(&mut self) {
        let quietest = self.sources.iter().min_by_key(|(_, bucket)| bucket.filled);
        if let Some(source) = quietest.map(|(source, _)| *source) {
            self.sources.remove(&source);
        }
    }
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs() / REFILL.as_secs();
        if passed > 0 {
            let earned = u32::try_from(passed).unwrap_or(BURST);
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.filled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_once_it_ebbs() {
        let mut telling = Telling::default();
        let now = Instant::now();
        let source = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..BURST {
            assert_eq!(telling.tell(source, now), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(telling.tell(source, now), None);
        }
        assert_eq!(
            telling.tell(IpAddr::from([10, 0, 0, 2]), now),
            Some(0),
            "another source"
        );
        assert_eq!(telling.tell(source, now + REFILL), Some(500));
        assert_eq!(telling.tell(source, now + REFILL), None);
    }

    #[test]
    fn sources_are_bounded() {
        let mut telling = Telling::default();
        let now = Instant::now();
        for number in 0..u32::try_from(MAX_SOURCES).unwrap() * 2 {
            telling.tell(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(telling.sources.len(), MAX_SOURCES);
    }
}
