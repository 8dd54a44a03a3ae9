//! Spin for a bounded time, then block.
//!
//! Spinning saves two wake-ups of a round trip and burns a core meanwhile. So it is rationed: only
//! while the other side has lately answered quickly, and process-wide by at most as many threads as
//! leave one core free. Nobody spins for an idle connection.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// So many quick waits in a row make the next one worth spinning. One is not enough: a reader that asks for
/// two things now and then, one after the other, is quick once and then silent.
const QUICK_WAITS: u8 = 2;

/// How many threads of one process may spin at a time: all cores but one.
pub(super) struct SpinBudget {
    spinning: AtomicUsize,
}

/// Threads that serve connections.
pub(super) static TARGET_SPINNERS: SpinBudget = SpinBudget::new();
/// Threads that wait for completions. Apart from the target's, which may live in the same process.
pub(super) static INITIATOR_SPINNERS: SpinBudget = SpinBudget::new();

impl SpinBudget {
    const fn new() -> Self {
        Self {
            spinning: AtomicUsize::new(0),
        }
    }

    fn enter(&self) -> bool {
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores = *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
        let entered = self
            .spinning
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |spinning| {
                (spinning + 1 < cores).then_some(spinning + 1)
            });
        entered.is_ok()
    }
}

/// One connection's habit of spinning.
pub(super) struct Spinner {
    spin: Duration,
    budget: &'static SpinBudget,
    quick_in_a_row: u8,
}

impl Spinner {
    pub(super) fn new(spin: Duration, budget: &'static SpinBudget) -> Self {
        Self {
            spin,
            budget,
            quick_in_a_row: QUICK_WAITS,
        }
    }

    /// A turn at spinning, where it is worthwhile and the budget allows it.
    pub(super) fn turn(&self, begun: Instant) -> Option<Turn> {
        if self.quick_in_a_row < QUICK_WAITS || self.spin.is_zero() || !self.budget.enter() {
            return None;
        }
        Some(Turn {
            budget: self.budget,
            until: begun + self.spin,
        })
    }

    /// Tells how long the last wait took. Twice the spin still counts as quick, because a blocked
    /// wait pays for its wake-up.
    pub(super) fn observe(&mut self, waited: Duration) {
        self.quick_in_a_row = if waited < self.spin * 2 {
            (self.quick_in_a_row + 1).min(QUICK_WAITS)
        } else {
            0
        };
    }
}

/// A turn at spinning; ends when dropped.
pub(super) struct Turn {
    budget: &'static SpinBudget,
    until: Instant,
}

impl Turn {
    /// Whether to look again. Yields to whoever else wants the core.
    pub(super) fn goes_on(&self) -> bool {
        std::thread::yield_now();
        Instant::now() < self.until
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.budget.spinning.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static BUDGET: SpinBudget = SpinBudget::new();

    #[test]
    fn at_most_all_cores_but_one_spin() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spinner = Spinner::new(Duration::from_micros(1), &BUDGET);
        let turns: Vec<_> = (0..2 * cores)
            .filter_map(|_| spinner.turn(Instant::now()))
            .collect();
        assert_eq!(turns.len(), cores - 1);
        drop(turns);
        assert_eq!(BUDGET.spinning.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_slow_answer_ends_spinning_until_two_quick_ones() {
        static ALONE: SpinBudget = SpinBudget::new();
        let mut spinner = Spinner::new(Duration::from_micros(100), &ALONE);
        spinner.observe(Duration::from_millis(5));
        assert!(spinner.turn(Instant::now()).is_none());
        spinner.observe(Duration::from_micros(150));
        assert!(spinner.turn(Instant::now()).is_none(), "two reads now and then");
        spinner.observe(Duration::from_micros(150));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(spinner.turn(Instant::now()).is_some(), cores > 1);
    }
}
