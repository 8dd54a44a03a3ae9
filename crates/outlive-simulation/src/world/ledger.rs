//! What the owners of the plain region did, and which states of it may be found.
//!
//! The state is the list of appended ids since the last clear; a snapshot holds the list. What each owner does stands here before
//! it does it, so every state that may ever be found is a prefix of some owner's doings, on top of the state that it found itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use outlive::{Set, SetKind, Sets};

use super::judge::violation;
use crate::machine;

/// Bytes that stand in front of what fills a payload up.
const HEAD: usize = 16;

#[derive(Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    owners: BTreeMap<u64, Owner>,
    /// What was committed at the level *placed* may be gone since.
    excused: bool,
}

/// One generation of ownership.
struct Owner {
    found: Vec<u64>,
    done: Vec<Doing>,
    /// So many of them are committed.
    committed: usize,
    last_sequence: u64,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Append(u64),
    Clear,
}

/// Where in the region's history a state stands: generation, and how many doings of its owner it reflects.
pub(super) type Place = (u64, usize);

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Power was lost, and the region's level promises nothing then.
    pub(super) fn excuse(&self) {
        machine::uninterrupted(|| self.state().excused = true);
    }

    pub(super) fn is_excused(&self) -> bool {
        machine::uninterrupted(|| self.state().excused)
    }

    /// Somebody owns the region, and found this. `false`: there is a later owner already.
    pub(super) fn open(&self, generation: u64, found: &[u64]) -> bool {
        machine::uninterrupted(|| {
            let mut state = self.state();
            let newest = state.owners.last_key_value().map_or(0, |(newest, _)| *newest);
            if newest == generation {
                violation(
                    "generation-twice",
                    format!("generation {generation} was granted twice"),
                );
            }
            if newest > generation {
                return false;
            }
            state.check_committed(found, generation);
            let owner = Owner {
                found: found.to_vec(),
                done: Vec::new(),
                committed: 0,
                last_sequence: 0,
            };
            state.owners.insert(generation, owner);
            true
        })
    }

    /// The id that is about to be appended.
    pub(super) fn append(&self, generation: u64) -> u64 {
        machine::uninterrupted(|| {
            let mut state = self.state();
            state.next_id += 1;
            let id = state.next_id;
            state.owner(generation).done.push(Doing::Append(id));
            id
        })
    }

    pub(super) fn clear(&self, generation: u64) {
        machine::uninterrupted(|| self.state().owner(generation).done.push(Doing::Clear));
    }

    /// The last doing was refused before it began.
    pub(super) fn refused(&self, generation: u64) {
        machine::uninterrupted(|| self.state().owner(generation).done.pop());
    }

    /// How many doings there are: what a commit now will cover.
    pub(super) fn doings(&self, generation: u64) -> usize {
        machine::uninterrupted(|| self.state().owner(generation).done.len())
    }

    /// What this owner has made of the region.
    pub(super) fn present(&self, generation: u64) -> Vec<u64> {
        machine::uninterrupted(|| {
            let mut state = self.state();
            let owner = state.owner(generation);
            owner.state(owner.done.len())
        })
    }

    /// So many doings are committed, the last of them under this sequence.
    pub(super) fn committed(&self, generation: u64, doings: usize, sequence: u64) {
        machine::uninterrupted(|| {
            let mut state = self.state();
            let owner = state.owner(generation);
            if sequence <= owner.last_sequence {
                let before = owner.last_sequence;
                violation(
                    "receipts-out-of-order",
                    format!("receipt {sequence} comes after receipt {before}"),
                );
            }
            owner.last_sequence = sequence;
            owner.committed = owner.committed.max(doings);
        });
    }

    /// The highest sequence that is known to be committed.
    pub(super) fn last_sequence(&self) -> u64 {
        machine::uninterrupted(|| {
            let state = self.state();
            state
                .owners
                .values()
                .map(|owner| owner.last_sequence)
                .max()
                .unwrap_or(0)
        })
    }

    /// A reader found this: some state that was. Where in history, so that its next look can be told from a step back.
    pub(super) fn seen(&self, found: &[u64], not_before: Place) -> Place {
        machine::uninterrupted(|| {
            let state = self.state();
            // Of several the first: the later ones may not have happened yet.
            if let Some(place) = state.places(found).filter(|place| *place >= not_before).min() {
                return place;
            }
            match state.places(found).max() {
                Some(_) if state.excused => (0, 0),
                Some(place) => violation(
                    "reader-goes-back",
                    format!(
                        "a reader that had seen {not_before:?} finds {place:?} again: {found:?}; {}",
                        state.tell()
                    ),
                ),
                None => violation(
                    "reader-sees-a-mix",
                    format!("no owner ever had {found:?}; {}", state.tell()),
                ),
            }
        })
    }

    /// What is found when all has come to rest: everything committed is in it.
    pub(super) fn final_state(&self, found: &[u64]) {
        machine::uninterrupted(|| {
            let state = self.state();
            state.check_committed(found, u64::MAX);
        });
    }

    pub(super) fn commits(&self) -> u64 {
        self.state()
            .owners
            .values()
            .map(|owner| owner.committed as u64)
            .sum()
    }

    pub(super) fn owners(&self) -> u64 {
        self.state().owners.len() as u64
    }
}

impl State {
    fn owner(&mut self, generation: u64) -> &mut Owner {
        self.owners.get_mut(&generation).expect("it opened the region")
    }

    /// Every place in history with this state.
    fn places(&self, found: &[u64]) -> impl Iterator<Item = Place> {
        let nothing = found.is_empty().then_some((0, 0));
        let owners = self
            .owners
            .iter()
            .flat_map(move |(generation, owner)| owner.places(found).map(|count| (*generation, count)));
        nothing.into_iter().chain(owners)
    }

    /// Whether nothing that was committed by owners before `generation` is missing.
    fn check_committed(&self, found: &[u64], generation: u64) {
        let Some((before, owner)) = self.owners.range(..generation).next_back() else {
            if !found.is_empty() {
                violation("state-from-nowhere", format!("a new region holds {found:?}"));
            }
            return;
        };
        let whole = owner.places(found).any(|count| count >= owner.committed);
        let excused = self.excused && self.places(found).next().is_some();
        if !whole && !excused {
            let kind = if self.places(found).next().is_some() {
                "committed-set-lost"
            } else {
                "state-is-a-mix"
            };
            let committed = owner.state(owner.committed);
            violation(
                kind,
                format!(
                    "generation {before} had committed {committed:?}, and {found:?} is found; {}",
                    self.tell()
                ),
            );
        }
    }

    fn tell(&self) -> String {
        let owners = self.owners.iter().rev().take(4).map(|(generation, owner)| {
            format!(
                "generation {generation} found {:?}, did {:?}, {} of it committed",
                owner.found, owner.done, owner.committed
            )
        });
        owners.collect::<Vec<_>>().join("; ")
    }
}

impl Owner {
    fn state(&self, doings: usize) -> Vec<u64> {
        let mut state = self.found.clone();
        for doing in &self.done[..doings] {
            match doing {
                Doing::Append(id) => state.push(*id),
                Doing::Clear => state.clear(),
            }
        }
        state
    }

    /// After how many of its doings the state was this.
    fn places(&self, found: &[u64]) -> impl Iterator<Item = usize> {
        // The last id, or that there is none, and how many there are: most places are told apart by that.
        let mut len = self.found.len();
        let mut last = self.found.last().copied();
        let mut alike = Vec::new();
        for count in 0..=self.done.len() {
            match count.checked_sub(1).map(|at| self.done[at]) {
                Some(Doing::Append(id)) => (len, last) = (len + 1, Some(id)),
                Some(Doing::Clear) => (len, last) = (0, None),
                None => {}
            }
            if (len, last) == (found.len(), found.last().copied()) && self.state(count) == found {
                alike.push(count);
            }
        }
        alike.into_iter()
    }
}

/// The payload of an update.
pub(super) fn update(id: u64, len: usize) -> Vec<u8> {
    payload(&[id], len)
}

/// The payload of a snapshot.
pub(super) fn snapshot(ids: &[u64], filler: usize) -> Vec<u8> {
    payload(ids, filler)
}

fn payload(ids: &[u64], filler: usize) -> Vec<u8> {
    let mut bytes = (ids.len() as u64).to_le_bytes().to_vec();
    bytes.extend((filler as u64).to_le_bytes());
    bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
    let seed = ids
        .iter()
        .fold(ids.len() as u64, |sum, id| sum.wrapping_mul(31).wrapping_add(*id));
    bytes.extend((0..filler).map(|at| filler_byte(seed, at)));
    bytes
}

fn filler_byte(seed: u64, at: usize) -> u8 {
    seed.wrapping_add(at as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_be_bytes()[0]
}

fn ids(set: &Set) -> Vec<u64> {
    let number = |at: usize| {
        set.bytes
            .get(at..at + 8)
            .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
    };
    let decoded = number(0).zip(number(8)).and_then(|(count, filler)| {
        let ids: Option<Vec<u64>> = (0..usize::try_from(count).ok()?)
            .map(|at| number(HEAD + at * 8))
            .collect();
        let ids = ids?;
        (payload(&ids, usize::try_from(filler).ok()?) == set.bytes).then_some(ids)
    });
    decoded.unwrap_or_else(|| {
        violation(
            "corrupt-set-served",
            format!(
                "set {} of generation {} is not what was written",
                set.sequence, set.generation
            ),
        )
    })
}

/// Applies sets in order, as every user of the library does.
pub(super) fn apply(state: &mut Vec<u64>, set: &Set) {
    match set.kind {
        SetKind::Snapshot => *state = ids(set),
        SetKind::Update => state.extend(ids(set)),
        SetKind::Clear => state.clear(),
        _ => {}
    }
}

pub(super) fn state_of(sets: &Sets) -> Vec<u64> {
    let mut state = Vec::new();
    sets.iter().for_each(|set| apply(&mut state, set));
    state
}
