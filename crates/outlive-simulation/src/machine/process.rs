//! A simulated process: which threads may run, and what its clocks show.

use std::time::Duration;

/// What every monotonic clock shows when a run begins: long enough after a boot that nothing underflows.
const BOOTED_NS: u64 = 10_000_000 * 1_000_000_000;
/// What every wall clock shows when a run begins: 2026-01-01T00:00:00Z.
const EPOCH_NS: u64 = 1_767_225_600 * 1_000_000_000;
const MILLION: i128 = 1_000_000;

pub(super) struct Host {
    pub(super) name: String,
    pub(super) paused: bool,
    /// Killed, or its main thread has returned.
    pub(super) ended: bool,
    wall_offset_ms: i64,
    rate_ppm: i64,
    /// Since when its clock runs at this rate, in the machine's time and its own.
    since_ns: u64,
    shown_ns: u64,
}

impl Host {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            paused: false,
            ended: false,
            wall_offset_ms: 0,
            rate_ppm: 0,
            since_ns: 0,
            shown_ns: BOOTED_NS,
        }
    }

    /// What its monotonic clock shows at the machine's time `now_ns`.
    pub(super) fn monotonic_ns(&self, now_ns: u64) -> u64 {
        if self.rate_ppm == 0 {
            return self.shown_ns.saturating_add(now_ns - self.since_ns);
        }
        let passed = i128::from(now_ns - self.since_ns);
        let shown = i128::from(self.shown_ns) + passed * (MILLION + i128::from(self.rate_ppm)) / MILLION;
        u64::try_from(shown).unwrap_or(u64::MAX)
    }

    /// The first time of the machine at which its monotonic clock shows `shown_ns`.
    pub(super) fn machine_ns(&self, shown_ns: u64) -> u64 {
        if self.rate_ppm == 0 {
            return self
                .since_ns
                .saturating_add(shown_ns.saturating_sub(self.shown_ns));
        }
        let ahead = i128::from(shown_ns.saturating_sub(self.shown_ns));
        let rate = MILLION + i128::from(self.rate_ppm);
        let passed = (ahead * MILLION + rate - 1) / rate;
        u64::try_from(i128::from(self.since_ns) + passed).unwrap_or(u64::MAX)
    }

    /// What its wall clock shows, never before 1970.
    pub(super) fn wall_ns(&self, now_ns: u64) -> u64 {
        let shown = i128::from(EPOCH_NS)
            + i128::from(self.monotonic_ns(now_ns) - BOOTED_NS)
            + i128::from(self.wall_offset_ms) * MILLION;
        u64::try_from(shown.max(0)).unwrap_or(u64::MAX)
    }

    pub(super) fn set_wall_offset_ms(&mut self, offset_ms: i64) {
        self.wall_offset_ms = offset_ms;
    }

    /// From `now_ns` on its clock runs faster by `ppm` millionths, or slower; bounded so that it always moves forward.
    pub(super) fn set_rate_ppm(&mut self, now_ns: u64, ppm: i64) {
        self.shown_ns = self.monotonic_ns(now_ns);
        self.since_ns = now_ns;
        self.rate_ppm = ppm.clamp(-900_000, 9_000_000);
    }
}

pub(super) fn duration(ns: u64) -> Duration {
    Duration::from_nanos(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_exactly_when_the_skewed_clock_shows_it() {
        for ppm in [-900_000, -333, 0, 7, 200_000] {
            let mut host = Host::new("host".into());
            host.set_rate_ppm(12_345, ppm);
            for ahead in [0, 1, 999, 1_000_000, 3_600_000_000_007] {
                let shown = host.monotonic_ns(12_345) + ahead;
                let reached = host.machine_ns(shown);
                assert!(host.monotonic_ns(reached) >= shown, "{ppm} ppm, {ahead} ns");
                assert!(reached == 12_345 || host.monotonic_ns(reached - 1) < shown);
            }
        }
    }

    #[test]
    fn a_change_of_rate_does_not_jump() {
        let mut host = Host::new("host".into());
        let before = host.monotonic_ns(5_000_000);
        host.set_rate_ppm(5_000_000, 500_000);
        assert_eq!(host.monotonic_ns(5_000_000), before);
        assert_eq!(host.monotonic_ns(7_000_000), before + 3_000_000);
    }
}
