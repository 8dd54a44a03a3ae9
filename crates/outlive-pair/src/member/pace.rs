//! How often a backup looks for what is new: often while something comes, seldom while nothing does.

use std::time::{Duration, Instant};

use crate::PairConfig;

/// Most time between two looks, however slow the heartbeat is: what is asked of a backup waits for the next.
const MAX_INTERVAL: Duration = Duration::from_millis(50);
/// How often a backup that sees nothing come reads the region's head too. Only then it learns that its place in the
/// journal was left behind, damaged or moved; a takeover, which reads all of that itself, does not depend on it.
const WHOLE_LOOK: Duration = Duration::from_millis(200);

/// When to look next, and how closely.
pub(super) struct Pace {
    shortest: Duration,
    longest: Duration,
    interval: Duration,
    whole_at: Option<Instant>,
}

impl Pace {
    pub(super) fn new(config: &PairConfig) -> Self {
        let shortest = config.follow_every;
        Self {
            shortest,
            longest: config.heartbeat.min(MAX_INTERVAL).max(shortest),
            interval: shortest,
            whole_at: None,
        }
    }

    /// How long to wait before the next look.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether it is time to look at more than what comes next in the journal.
    pub(super) fn is_whole_due(&self, now: Instant) -> bool {
        self.whole_at.is_none_or(|at| at <= now)
    }

    /// All that there is was read: with something new or not.
    pub(super) fn looked_whole(&mut self, now: Instant, was_new: bool) {
        self.whole_at = Some(now + WHOLE_LOOK);
        if was_new {
            self.interval = self.shortest;
        } else {
            self.nothing_new();
        }
    }

    /// There was nothing: the next look may come later, up to a heartbeat.
    pub(super) fn nothing_new(&mut self) {
        self.interval = self.interval.saturating_mul(2).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(heartbeat_ms: u64, follow_ms: u64) -> Pace {
        let mut config = PairConfig::new("pair", "a:1", None);
        config.heartbeat = Duration::from_millis(heartbeat_ms);
        config.follow_every = Duration::from_millis(follow_ms);
        Pace::new(&config)
    }

    #[test]
    fn it_slows_down_to_the_heartbeat_and_wakes_at_the_first_set() {
        let (mut pace, now) = (pace(20, 5), Instant::now());
        let mut intervals = Vec::new();
        for _ in 0..4 {
            intervals.push(pace.interval().as_millis());
            pace.nothing_new();
        }
        assert_eq!(intervals, [5, 10, 20, 20]);
        pace.looked_whole(now, false);
        assert_eq!(pace.interval().as_millis(), 20);
        pace.looked_whole(now, true);
        assert_eq!(pace.interval().as_millis(), 5);
    }

    #[test]
    fn what_is_asked_of_a_backup_does_not_wait_for_a_slow_heartbeat() {
        let mut slow = pace(2000, 5);
        let mut rare = pace(20, 100);
        for _ in 0..20 {
            slow.nothing_new();
            rare.nothing_new();
        }
        assert_eq!(slow.interval(), MAX_INTERVAL);
        assert_eq!(rare.interval().as_millis(), 100, "as it was told to");
    }

    #[test]
    fn the_head_is_read_at_first_and_then_now_and_then() {
        let (mut pace, now) = (pace(20, 5), Instant::now());
        assert!(pace.is_whole_due(now));
        pace.looked_whole(now, true);
        assert!(!pace.is_whole_due(now));
        assert!(pace.is_whole_due(now + WHOLE_LOOK));
    }
}
