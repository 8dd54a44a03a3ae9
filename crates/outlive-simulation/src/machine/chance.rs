//! What the seed decides: three streams, so that a draw in one does not move the others.

use fastrand::Rng;

/// Often enough that every run has some, rarely enough that waiting is still worth while.
const FOR_NOTHING_ONCE_IN: u64 = 128;

/// The generators of one run.
pub(super) struct Chance {
    /// Which thread runs next, and how long things take.
    pub(super) schedule: Rng,
    /// What the operating system's source of randomness answers.
    pub(super) entropy: Rng,
    /// What the simulated program's own tests draw.
    pub(super) draws: Rng,
    /// A thread that could go on loses its turn once in so many points where it could.
    pub(super) preempt_once_in: u64,
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        let mut schedule = Rng::with_seed(seed);
        let entropy = schedule.fork();
        let draws = schedule.fork();
        // Some interleavings want long turns, others short ones, so each run has a habit of its own.
        let preempt_once_in = [2, 4, 16, 64][schedule.usize(..4)];
        Self {
            schedule,
            entropy,
            draws,
            preempt_once_in,
        }
    }

    /// Whether a wait on a word ends although nobody woke it, as futex(2) allows.
    pub(super) fn wakes_for_nothing(&mut self) -> bool {
        self.schedule.u64(..FOR_NOTHING_ONCE_IN) == 0
    }

    pub(super) fn preempts(&mut self) -> bool {
        self.schedule.u64(..self.preempt_once_in) == 0
    }
}
