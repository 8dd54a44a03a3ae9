//! What is placed, what is persistent, and between the two every value that a word may still fall back to.

use std::collections::{BTreeMap, BTreeSet};

use super::image::{Image, words_of};
use super::{WORD, Word};

/// A medium's bytes while it has power.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub(super) placed: Image,
    pub(super) persistent: Image,
    /// By word: what was placed there since it was last persistent, oldest first. Never empty lists.
    pub(super) pending: BTreeMap<u64, Vec<Version>>,
    /// Stores and persists so far.
    pub(super) events: usize,
}

/// A value of a word that is placed and not known to be persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// The event that placed it, counted from 1; 0 where it was placed before the trace began.
    pub(super) event: usize,
    pub(super) word: Word,
}

impl Cells {
    pub(super) fn new(persistent: Image) -> Self {
        Self {
            placed: persistent.clone(),
            persistent,
            pending: BTreeMap::new(),
            events: 0,
        }
    }

    /// As a killed unit leaves it: what is placed and not persistent may still be lost.
    pub(super) fn left(persistent: Image, placed: Image) -> Self {
        let version = |index: &u64| Version {
            event: 0,
            word: placed.word(*index),
        };
        let differences = persistent.differences(&placed);
        let pending = differences
            .iter()
            .map(|index| (*index, vec![version(index)]))
            .collect();
        Self {
            placed,
            persistent,
            pending,
            events: 0,
        }
    }

    pub(super) fn store(&mut self, at: u64, bytes: &[u8]) {
        self.events += 1;
        words_of(at, bytes, |index, from, piece| {
            let mut word = self.placed.word(index);
            word[from..from + piece.len()].copy_from_slice(piece);
            self.place(index, word);
        });
    }

    pub(super) fn zero(&mut self, at: u64, len: u64) {
        const ZEROS: [u8; 4096] = [0; 4096];
        self.events += 1;
        let (mut at, end) = (at, at + len);
        while at < end {
            let page_end = (at / 4096 + 1) * 4096;
            let until = page_end.min(end);
            if !self.placed.is_untouched(at) {
                let piece = usize::try_from(until - at).expect("at most a page");
                words_of(at, &ZEROS[..piece], |index, from, piece| {
                    let mut word = self.placed.word(index);
                    word[from..from + piece.len()].fill(0);
                    self.place(index, word);
                });
            }
            at = until;
        }
    }

    /// Makes persistent what the first `covers` events placed, or a part of it, by address.
    pub(super) fn persist(&mut self, covers: usize, part: Part) {
        self.events += 1;
        let covered = self
            .pending
            .iter()
            .filter_map(|(index, versions)| Some((*index, newest(versions, covers)?)));
        let covered: Vec<_> = covered.collect();
        let len = match part {
            Part::Whole => covered.len(),
            Part::FirstHalf => covered.len() / 2,
        };
        for (index, version) in &covered[..len] {
            self.persistent.set_word(*index, version.word);
        }
        let persisted: BTreeSet<u64> = covered[..len].iter().map(|(index, _)| *index).collect();
        self.pending.retain(|index, versions| {
            if persisted.contains(index) {
                versions.retain(|version| version.event > covers);
            }
            !versions.is_empty()
        });
    }

    /// Counts events from here on. What is pending is older than all of them.
    pub(super) fn rebase(&mut self) {
        self.events = 0;
        for version in self.pending.values_mut().flatten() {
            version.event = 0;
        }
    }

    fn place(&mut self, index: u64, word: Word) {
        if self.placed.word(index) == word {
            return;
        }
        self.placed.set_word(index, word);
        let event = self.events;
        self.pending
            .entry(index)
            .or_default()
            .push(Version { event, word });
    }
}

/// How much a flush gets done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// The lower half of the words that were to be written.
    FirstHalf,
}

fn newest(versions: &[Version], covers: usize) -> Option<Version> {
    let covered = versions.iter().rev();
    covered.copied().find(|version| version.event <= covers)
}

const _: () = assert!(4096 % WORD == 0);
