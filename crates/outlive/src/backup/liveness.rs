//! When a primary is suspected. Clocks are used for liveness only: the fence keeps a false suspicion from
//! costing more than a takeover.

use std::time::{Duration, Instant};

use super::{BackupOptions, Suspicion};
use crate::control::Watched;

/// What a backup has seen of its primary's life.
pub(super) struct Liveness {
    suspect_after: Duration,
    heartbeat: Duration,
    grace: Duration,
    incarnation: u64,
    /// Until then a primary may be on its way back: the unit is in a new incarnation.
    grace_until: Instant,
    word: Option<u64>,
    /// Since when the word stands still, as far as successful reads tell.
    still_since: Instant,
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
            still_since: now,
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
        }
        self.incarnation = incarnation;
    }

    /// The heartbeat word was read.
    pub(super) fn saw(&mut self, word: u64) {
        let now = Instant::now();
        // Silence counts only while the backup itself was looking.
        let was_looking = self
            .last_look
            .is_some_and(|last| now - last <= self.suspect_after / 2 + self.heartbeat);
        if self.word.is_some_and(|before| before != word) {
            self.last_sign = now;
        }
        if self.word != Some(word) || !was_looking {
            self.still_since = now;
        }
        self.word = Some(word);
        self.last_look = Some(now);
    }

    /// The primary wrote a set.
    pub(super) fn sign_of_life(&mut self) {
        self.last_sign = Instant::now();
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
        let silent = self.last_look? - self.still_since;
        let counts = !self.suspect_after.is_zero() && !in_grace && self.word.is_some();
        (counts && silent >= self.suspect_after).then_some(Suspicion::Silent { since: silent })
    }
}
