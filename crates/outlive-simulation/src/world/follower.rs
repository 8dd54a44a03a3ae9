//! Who follows the plain region and never owns it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outlive::{Backup, Error};

use super::judge::violation;
use super::ledger::{Place as Moment, apply, state_of};
use super::pair::connect;
use super::place::Place;
use super::roads::Roads;
use super::writer::{PLAIN, Plain};
use crate::machine;

pub(super) struct Follower {
    pub(super) roads: Arc<Roads>,
    pub(super) plain: Arc<Plain>,
    pub(super) looks: Arc<AtomicU64>,
}

impl Follower {
    pub(super) fn live(self) {
        let session = connect(&self.roads, Place::Follower);
        loop {
            match session.backup(PLAIN) {
                Ok(backup) => self.follow(backup),
                Err(error) => machine::trace(|| format!("cannot follow: {error}")),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn follow(&self, mut backup: Backup) {
        let mut state = Vec::new();
        let mut seen: Moment = (0, 0);
        // Now and then it begins anew.
        for _ in 0..machine::below(200) {
            if machine::below(10) == 0 {
                match backup.read_all() {
                    Ok(sets) => {
                        state = state_of(&sets);
                        machine::trace(|| {
                            format!(
                                "read all: {} ids, up to sequence {}",
                                state.len(),
                                sets.last_sequence()
                            )
                        });
                        // What a power cut took with it may have been seen before.
                        seen = (0, 0);
                    }
                    Err(error) => return self.judge_error(&error),
                }
            } else {
                match backup.read_new() {
                    Ok(fresh) => {
                        machine::trace(|| {
                            let sets: Vec<_> = fresh
                                .sets
                                .iter()
                                .map(|set| (set.kind, set.generation, set.sequence))
                                .collect();
                            format!(
                                "read {sets:?}, overrun {:?}, diverged {:?}, more {}",
                                fresh.overrun, fresh.diverged, fresh.more
                            )
                        });
                        if fresh.diverged.is_some() {
                            seen = (0, 0);
                        }
                        fresh.sets.iter().for_each(|set| apply(&mut state, set));
                        if fresh.more {
                            continue;
                        }
                    }
                    Err(error) => return self.judge_error(&error),
                }
            }
            seen = self.plain.ledger.seen(&state, seen);
            self.looks.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(machine::below(15_000)));
        }
    }

    fn judge_error(&self, error: &Error) {
        machine::trace(|| format!("cannot read: {error}"));
        if matches!(error, Error::Corrupt { .. } | Error::Lost { .. }) && !self.plain.ledger.is_excused() {
            violation("region-lost", format!("the follower: {error:?}"));
        }
    }
}
