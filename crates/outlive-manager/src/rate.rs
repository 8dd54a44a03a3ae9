//! Bounds on how often something may happen: in all, and for each of many.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// How often: `burst` at once and `per_second` for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frequency {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

/// One bound for all.
#[derive(Debug)]
pub(crate) struct Rate {
    frequency: Frequency,
    bucket: Mutex<Bucket>,
}

/// A bound for each of many, of whom so many are told apart; the one that was quiet longest makes room.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    frequency: Frequency,
    most: usize,
    buckets: Mutex<HashMap<K, Bucket>>,
}

/// What is left to somebody.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    since: Instant,
    /// Refused since the last one that was allowed.
    refused: u64,
}

/// Whether one more may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It may; so many before it were refused.
    Allowed {
        refused_before: u64,
    },
    Refused,
}

impl Rate {
    pub(crate) fn new(frequency: Frequency) -> Self {
        Self {
            frequency,
            bucket: Mutex::new(Bucket::full(frequency)),
        }
    }

    /// Whether one more may happen now.
    pub(crate) fn allows(&self) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.pass(self.frequency) != Pass::Refused
    }
}

impl<K: Clone + Eq + Hash> Rates<K> {
    pub(crate) fn new(frequency: Frequency, most: usize) -> Self {
        Self {
            frequency,
            most,
            buckets: Mutex::default(),
        }
    }

    /// Whether `who` may have one more now.
    pub(crate) fn pass(&self, who: &K) -> Pass {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(who) {
            return bucket.pass(self.frequency);
        }
        if buckets.len() >= self.most {
            let quietest = buckets.iter().min_by_key(|(_, bucket)| bucket.since);
            if let Some(quietest) = quietest.map(|(who, _)| who.clone()) {
                buckets.remove(&quietest);
            }
        }
        let bucket = buckets.entry(who.clone());
        bucket
            .or_insert_with(|| Bucket::full(self.frequency))
            .pass(self.frequency)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Bucket {
    fn full(frequency: Frequency) -> Self {
        Self {
            left: f64::from(frequency.burst),
            since: Instant::now(),
            refused: 0,
        }
    }

    fn pass(&mut self, frequency: Frequency) -> Pass {
        let now = Instant::now();
        let grown = now.duration_since(self.since).as_secs_f64() * f64::from(frequency.per_second);
        self.left = (self.left + grown).min(f64::from(frequency.burst));
        self.since = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            let refused_before = std::mem::take(&mut self.refused);
            Pass::Allowed { refused_before }
        } else {
            self.refused += 1;
            Pass::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const FREQUENCY: Frequency = Frequency {
        per_second: 10,
        burst: 5,
    };

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_then_the_rate_holds() {
        let rate = Rate::new(FREQUENCY);
        assert_eq!((0..100).filter(|_| rate.allows()).count(), 5);
        tokio::time::advance(Duration::from_millis(350)).await;
        assert_eq!((0..100).filter(|_| rate.allows()).count(), 3);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!((0..100).filter(|_| rate.allows()).count(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_a_bound_of_its_own_and_is_told_what_was_refused() {
        let rates = Rates::new(FREQUENCY, 8);
        let passed = |who: u32| (0..100).filter(|_| rates.pass(&who) != Pass::Refused).count();
        assert_eq!((passed(1), passed(1), passed(2)), (5, 0, 5));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(rates.pass(&1), Pass::Allowed { refused_before: 195 });
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(rates.pass(&1), Pass::Allowed { refused_before: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_who_comes_often_keeps_its_place() {
        let rates = Rates::new(FREQUENCY, 8);
        while rates.pass(&0) != Pass::Refused {}
        for other in 1..1_000 {
            tokio::time::advance(Duration::from_micros(1)).await;
            assert_eq!(rates.pass(&0), Pass::Refused, "after {other} others");
            assert_eq!(rates.pass(&other), Pass::Allowed { refused_before: 0 });
            assert!(rates.len() <= 8);
        }
    }
}
