//! When a primary is suspected. Clocks are used for liveness only: the fence keeps a false suspicion from
//! costing more than a takeover.

use std::time::{Duration, Instant};

use super::{BackupOptions, Suspicion};
use crate::control::Watched;

/// So many times longer a primary is not suspected whose heartbeat cannot be read: one that is idle writes no set. In vain, a
/// suspicion costs a takeover only.
const BLIND_FACTOR: u32 = 5;

/// What a backup has seen of its primary's life.
pub(super) struct Liveness {
    suspect_after: Duration,
    heartbeat: Duration,
    grace: Duration,
    incarnation: u64,
    /// Until then a primary may be on its way back: the unit is in a new incarnation.
    grace_until: Instant,
    word: Option<u64>,
    /// For how long the word stood still, as far as successful reads tell.
    silent: Duration,
    /// While the word cannot be read: for how long no set came either.
    blind: Option<Duration>,
    last_look: Option<Instant>,
    last_sign: Instant,
    /// From the last sign of life to the suspicion that was raised.
    pub(super) detect: Duration,
    /// The generation that was suspected.
    pub(super) suspected: Option<u64>,
}

impl Liveness {
    pub(super) fn new(options: &BackupOptions) -> Self {
        let now = Instant::now();
        Self {
            suspect_after: options.suspect_after,
            heartbeat: options.heartbeat.max(Duration::from_millis(1)),
            grace: options.grace,
            incarnation: 0,
            grace_until: now,
            word: None,
            silent: Duration::ZERO,
            blind: None,
            last_look: None,
            last_sign: now,
            detect: Duration::ZERO,
            suspected: None,
        }
    }

    /// The backup is connected to this incarnation of the unit.
    pub(super) fn connected(&mut self, incarnation: u64) {
        if self.incarnation != incarnation && self.incarnation != 0 {
            self.grace_until = Instant::now() + self.grace;
            self.last_look = None;
            self.silent = Duration::ZERO;
            self.blind = None;
        }
        self.incarnation = incarnation;
    }

    /// The heartbeat word was read.
    pub(super) fn saw(&mut self, word: u64) {
        self.saw_at(word, Instant::now());
    }

    fn saw_at(&mut self, word: u64, now: Instant) {
        let since_look = self.last_look.map(|last| now.saturating_duration_since(last));
        if self.word != Some(word) {
            if self.word.is_some() {
                self.last_sign = now;
            }
            self.silent = Duration::ZERO;
        } else if let Some(since_look) = since_look {
            // Silence counts only while the backup itself was looking: what it slept through counts as one heartbeat. On a
            // machine where every look comes late a silent primary is suspected all the same, only later.
            let was_looking = since_look <= self.suspect_after / 2 + self.heartbeat;
            self.silent += if was_looking { since_look } else { self.heartbeat };
        }
        self.word = Some(word);
        self.blind = None;
        self.last_look = Some(now);
    }

    /// The unit answered that its device cannot read the word: it is there, and the word says nothing. Sets are signs of life
    /// still; where they fail to come as well the primary is suspected, only later.
    pub(super) fn blind(&mut self) {
        self.blind_at(Instant::now());
    }

    fn blind_at(&mut self, now: Instant) {
        if self.blind.is_none() {
            tracing::warn!(
                "the device cannot read the heartbeat: a silent primary is suspected later than otherwise"
            );
        }
        let since_look = self
            .last_look
            .filter(|_| self.blind.is_some())
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let was_looking = since_look <= self.suspect_after / 2 + self.heartbeat;
        let silent = if was_looking { since_look } else { self.heartbeat };
        self.blind = Some(self.blind.unwrap_or_default() + silent);
        self.word = None;
        self.silent = Duration::ZERO;
        self.last_look = Some(now);
    }

    /// The primary wrote a set.
    pub(super) fn sign_of_life(&mut self) {
        self.last_sign = Instant::now();
        self.blind = self.blind.map(|_| Duration::ZERO);
    }

    /// Whether the heartbeat word is to be read before the next judgement: it is due, or there is news to confirm.
    pub(super) fn wants_look(&self, known: &Watched) -> bool {
        let since = self.last_look.map(|last| last.elapsed());
        let news = known
            .owner_lost
            .is_some_and(|(at, _)| self.last_look.is_none_or(|last| last < at));
        news || since.is_none_or(|since| since >= self.heartbeat)
    }

    /// How long until the next look is due.
    pub(super) fn next_look(&self) -> Duration {
        let since = self.last_look.map_or(self.heartbeat, |last| last.elapsed());
        self.heartbeat.saturating_sub(since).max(Duration::from_millis(1))
    }

    /// What follows from what is known and from what was read.
    pub(super) fn judge(&mut self, known: &Watched) -> Option<Suspicion> {
        let region = known.region.as_ref()?;
        let Some(suspicion) = self.suspect(known, region.generation > 0, region.owner.is_empty()) else {
            self.suspected = None;
            return None;
        };
        if self.suspected != Some(region.generation) {
            self.suspected = Some(region.generation);
            self.detect = self.last_sign.elapsed();
        }
        Some(suspicion)
    }

    /// A takeover was lost, or is over: what was suspected is history.
    pub(super) fn forget(&mut self) {
        self.suspected = None;
        self.last_look = None;
        self.silent = Duration::ZERO;
        self.last_sign = Instant::now();
    }

    fn suspect(&self, known: &Watched, was_owned: bool, is_closed: bool) -> Option<Suspicion> {
        if !was_owned {
            return None;
        }
        if is_closed || known.closed {
            return Some(Suspicion::Closed);
        }
        let in_grace = Instant::now() < self.grace_until;
        if let Some((at, incarnation)) = known.owner_lost {
            // The backup's own read, after the news and in the same incarnation, shows that it was not the unit.
            let confirmed = self.last_look.is_some_and(|last| last >= at) && incarnation == self.incarnation;
            if confirmed && !in_grace {
                return Some(Suspicion::OwnerLost);
            }
        }
        // An owner that never connects, or was gone before this backup began to watch.
        if known.absent.is_some_and(|since| since.elapsed() >= self.grace) && !in_grace {
            return Some(Suspicion::OwnerLost);
        }
        self.last_look?;
        let counts = !self.suspect_after.is_zero() && !in_grace;
        let (silent, bound) = match self.blind {
            Some(silent) => (silent, self.suspect_after.saturating_mul(BLIND_FACTOR)),
            None => (self.silent, self.suspect_after),
        };
        let known_silence = self.word.is_some() || self.blind.is_some();
        (counts && known_silence && silent >= bound).then_some(Suspicion::Silent { since: silent })
    }
}

#[cfg(test)]
mod tests {
    use outlive_proto::v1::Region;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A backup that suspects after 200 ms, with a heartbeat of 20 ms, looks at a word that stands still, once after each of
    /// these times. Whether it suspects at the end.
    fn suspects_after(looks: impl IntoIterator<Item = u32>) -> bool {
        let options = BackupOptions {
            suspect_after: 200 * MS,
            heartbeat: 20 * MS,
            ..BackupOptions::default()
        };
        let mut liveness = Liveness::new(&options);
        liveness.connected(1);
        let mut now = Instant::now();
        liveness.saw_at(7, now);
        for after_ms in looks {
            now += after_ms * MS;
            liveness.saw_at(7, now);
        }
        let known = Watched {
            region: Some(Region {
                owner: "primary".to_owned(),
                owner_alive: true,
                generation: 1,
                ..Region::default()
            }),
            ..Watched::default()
        };
        matches!(liveness.judge(&known), Some(Suspicion::Silent { .. }))
    }

    #[test]
    fn a_word_that_stands_still_is_suspected() {
        assert!(!suspects_after([20; 9]));
        assert!(suspects_after([20; 10]));
    }

    #[test]
    fn a_primary_whose_word_cannot_be_read_is_suspected_once_no_set_has_come_for_long() {
        let options = BackupOptions {
            suspect_after: 200 * MS,
            heartbeat: 20 * MS,
            ..BackupOptions::default()
        };
        let known = Watched {
            region: Some(Region {
                owner: "primary".to_owned(),
                owner_alive: true,
                generation: 1,
                ..Region::default()
            }),
            ..Watched::default()
        };
        let mut liveness = Liveness::new(&options);
        liveness.connected(1);
        let mut now = Instant::now();
        for look in 0..=10 * BLIND_FACTOR {
            assert!(liveness.judge(&known).is_none(), "{look}");
            liveness.blind_at(now);
            now += 20 * MS;
        }
        assert!(matches!(liveness.judge(&known), Some(Suspicion::Silent { .. })));
        liveness.sign_of_life();
        assert!(liveness.judge(&known).is_none());
    }

    #[test]
    fn what_the_backup_slept_through_is_not_the_primarys_silence() {
        assert!(!suspects_after([10_000]));
        assert!(!suspects_after([10_000, 20, 20]));
    }

    #[test]
    fn a_backup_that_always_looks_late_suspects_all_the_same() {
        assert!(suspects_after([150; 12]));
        assert!(
            suspects_after([100, 150, 100]),
            "late looks do not undo what was seen"
        );
    }
}
