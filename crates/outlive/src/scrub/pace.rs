//! So many bytes in a second, and no more.

use std::time::{Duration, Instant};

/// A reader that fell behind (the unit was away, the host asleep) catches up on no more than this.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Pieces are small enough that ten go into a second, and large enough that each is worth its round trip.
const PIECES_PER_SECOND: u64 = 10;
const LEAST_PIECE: u64 = 4 << 10;
const LARGEST_PIECE: u64 = 1 << 20;

/// Tells when the next bytes may be read, so that no more than so many are read in a second. It has no clock of its own.
#[derive(Debug)]
pub struct Pace {
    rate: Option<u64>,
    origin: Instant,
    /// Bytes since the origin, and in all.
    since: u64,
    bytes: u64,
}

impl Pace {
    /// At most `rate` bytes a second; `None`: as fast as it goes.
    pub fn new(rate: Option<u64>) -> Self {
        Self {
            rate: rate.map(|rate| rate.max(1)),
            origin: Instant::now(),
            since: 0,
            bytes: 0,
        }
    }

    /// Bytes taken up to now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The largest piece to read at once.
    pub fn piece(&self) -> u64 {
        let piece = self.rate.map_or(LARGEST_PIECE, |rate| rate / PIECES_PER_SECOND);
        piece.clamp(LEAST_PIECE, LARGEST_PIECE)
    }

    /// Counts `bytes` that are about to be read, and tells how long to wait first.
    pub fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        self.bytes += bytes;
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let due = |bytes: u64| {
            let ns = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
            Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
        };
        let elapsed = now.saturating_duration_since(self.origin);
        let planned = due(self.since);
        if elapsed > planned + CATCH_UP {
            self.origin = now;
            self.since = bytes;
            return Duration::ZERO;
        }
        self.since += bytes;
        planned.saturating_sub(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_rate_however_reads_come() {
        for rate in [1, 4096, 1_000_000, u64::MAX / 4] {
            let mut pace = Pace::new(Some(rate));
            let began = pace.origin;
            let (mut now, mut read) = (began, 0_u128);
            for step in 0..10_000_u64 {
                let piece = pace.piece().min(1 + step * 37 % 8192);
                now += pace.take(piece, now);
                // Everything read before this piece took its time, but for a second of catching up after each long absence.
                let absences = u128::from(step / 1000 + 1);
                let budget = u128::from(rate) * ((now - began).as_nanos() + 1) / 1_000_000_000;
                assert!(
                    read <= budget + u128::from(rate) * absences,
                    "{rate}: {read} at {:?}",
                    now - began
                );
                read += u128::from(piece);
                now += Duration::from_micros(step % 7);
                if step % 1000 == 999 {
                    now += Duration::from_secs(3600);
                }
            }
            assert_eq!(u128::from(pace.bytes()), read);
        }
    }

    #[test]
    fn an_absence_is_not_made_good_at_once() {
        let mut pace = Pace::new(Some(1 << 20));
        let mut now = pace.origin + Duration::from_secs(3600);
        assert_eq!(pace.take(1 << 20, now), Duration::ZERO);
        let waited = pace.take(1 << 20, now);
        assert_eq!(
            waited,
            Duration::from_secs(1),
            "the piece before takes its second"
        );
        now += waited;
        assert_eq!(pace.take(1, now), Duration::from_secs(1));
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pace = Pace::new(None);
        assert_eq!(pace.take(u64::MAX / 2, pace.origin), Duration::ZERO);
        assert_eq!(pace.piece(), LARGEST_PIECE);
    }
}
