//! Whole pairs in a simulated world, replayable from a seed.
//!
//! Members (the real [`Node`](crate::machine::Node) and [`Output`](crate::output::Output)) run over a
//! model of the region, with messages that are late or lost, members that crash, pause for longer than
//! anybody waits, and start again, a unit that loses power, and clocks that disagree and jump. Clients
//! send again what is not answered. Checked all the time: see [`check`].
//!
//! `OUTLIVE_SEED=n` runs one seed and prints what happens; `OUTLIVE_SEEDS=n` runs that many.

mod check;
mod client;
mod random;
mod region;
mod tally;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use self::world::World;

/// Seeds per test run.
const SEEDS: u64 = 1500;

/// Seeds within which each deliberate bug must be found.
const BUG_SEEDS: u64 = 3000;

/// A deliberate mistake, to prove that the checks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Replies leave when their set is appended, not when it is committed.
    ReplyBeforeCommit,
    /// A new primary is granted the region while the old one's connection still works.
    GrantBeforeFence,
    /// Reads are answered without confirming ownership.
    ReadUnconfirmed,
    /// Numbered requests are carried out as if they had no number.
    NotOnce,
}

/// What a run went through, to see that the world is not asleep.
#[derive(Clone, Copy, Debug, Default)]
struct Summary {
    acknowledged: u64,
    reads: u64,
    repeated: u64,
    takeovers: u64,
    snapshots: u64,
    power_cuts: u64,
    evicted: u64,
    ahead: u64,
    switchovers: u64,
    unknown_outcomes: u64,
}

impl Summary {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
        self.repeated += other.repeated;
        self.takeovers += other.takeovers;
        self.snapshots += other.snapshots;
        self.power_cuts += other.power_cuts;
        self.evicted += other.evicted;
        self.ahead += other.ahead;
        self.switchovers += other.switchovers;
        self.unknown_outcomes += other.unknown_outcomes;
    }
}

/// Runs seeds on all cores until one fails; the lowest that failed, and the sum of the others.
fn run_seeds(seeds: u64, bug: Bug) -> (Summary, Option<(u64, String)>) {
    let next = AtomicU64::new(0);
    let sum = Mutex::new((Summary::default(), None::<(u64, String)>));
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let result = World::new(seed, bug, false).run();
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(summary) => sum.0.add(&summary),
                        Err(violation) => {
                            next.store(seeds, Ordering::Relaxed);
                            if sum.1.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                                sum.1 = Some((seed, violation));
                            }
                        }
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn pairs_keep_their_promises_in_every_seed() {
    if let Some(seed) = number_from_environment("OUTLIVE_SEED") {
        let result = World::new(seed, Bug::None, true).run();
        assert!(result.is_ok(), "seed {seed}: {}", result.unwrap_err());
        return;
    }
    let seeds = number_from_environment("OUTLIVE_SEEDS").unwrap_or(SEEDS);
    let (sum, failed) = run_seeds(seeds, Bug::None);
    if let Some((seed, violation)) = failed {
        panic!("seed {seed}: {violation}\nreplay with OUTLIVE_SEED={seed}");
    }
    eprintln!("{seeds} seeds: {sum:?}");
    if seeds < SEEDS {
        return;
    }
    // The world must not be asleep, or nothing was proven.
    for (what, count) in [
        ("acknowledged", sum.acknowledged / 10),
        ("reads", sum.reads / 10),
        ("repeated", sum.repeated),
        ("takeovers", sum.takeovers * 2),
        ("snapshots", sum.snapshots),
        ("power cuts", sum.power_cuts),
        ("evicted sessions", sum.evicted * 10),
        ("members ahead of the unit", sum.ahead * 500),
        ("switchovers", sum.switchovers * 10),
        ("unknown outcomes", sum.unknown_outcomes * 10),
    ] {
        assert!(count >= seeds, "{what}: too few to prove anything: {sum:?}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    let run = |seed| {
        let mut world = World::new(seed, Bug::None, false);
        let summary = world.run();
        (format!("{summary:?}"), world.fingerprint())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}

#[test]
fn a_reply_before_its_commit_is_caught() {
    caught(Bug::ReplyBeforeCommit, "before its commit");
}

#[test]
fn a_grant_before_the_fence_is_caught() {
    caught(Bug::GrantBeforeFence, "");
}

#[test]
fn a_read_without_confirmation_is_caught() {
    caught(Bug::ReadUnconfirmed, "went back");
}

#[test]
fn a_repeated_request_is_caught() {
    caught(Bug::NotOnce, "twice");
}

fn caught(bug: Bug, how: &str) {
    let (_, failed) = run_seeds(BUG_SEEDS, bug);
    let (seed, violation) = failed.unwrap_or_else(|| panic!("{bug:?} was not caught in {BUG_SEEDS} seeds"));
    assert!(
        violation.contains(how),
        "seed {seed}: {bug:?} was caught as: {violation}"
    );
}
