//! What may be left when power goes at one point of a trace.

use super::cells::{Cells, Version};
use super::image::Image;
use super::random::{Random, mix};
use super::{LINE, WORD};

/// One point at which power goes.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a> {
    cells: &'a Cells,
}

/// Which of the words that are placed and not persistent survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Survival {
    /// None does.
    None,
    /// All do, as they were placed last.
    All,
    /// Only what the newest store placed.
    NewestStore,
    /// All but what the newest store placed.
    AllButNewestStore,
    /// Only the last word of the newest store: where a seal's checksum stands.
    CommitWord,
    /// All but that word.
    AllButCommitWord,
    /// Only what the oldest store placed that is not persistent yet.
    OldestStore,
    /// Every other word, beginning with the first.
    EvenWords,
    /// Every other word, beginning with the second.
    OddWords,
    /// The lower half, by address.
    LowerHalf,
    /// The upper half, by address.
    UpperHalf,
    /// Every word, as it was placed first where it was placed several times.
    FirstVersions,
    /// By seed: in words, cache lines, pages or whole stores, few, half or most of them, in any version.
    Sampled(u64),
}

impl Survival {
    /// The choices that have broken systems before, to be tried at every point.
    pub const ADVERSARIAL: [Self; 12] = [
        Self::None,
        Self::All,
        Self::NewestStore,
        Self::AllButNewestStore,
        Self::CommitWord,
        Self::AllButCommitWord,
        Self::OldestStore,
        Self::EvenWords,
        Self::OddWords,
        Self::LowerHalf,
        Self::UpperHalf,
        Self::FirstVersions,
    ];
}

impl<'a> Cut<'a> {
    pub(super) fn new(cells: &'a Cells) -> Self {
        Self { cells }
    }

    /// How many events had happened.
    pub fn event(&self) -> usize {
        self.cells.events
    }

    /// Words that are placed and not known to be persistent.
    pub fn unpersisted_words(&self) -> usize {
        self.cells.pending.len()
    }

    /// How many different images this cut may leave; `None` beyond 2^64.
    pub fn outcomes(&self) -> Option<u64> {
        let choices = self
            .cells
            .pending
            .values()
            .map(|versions| versions.len() as u64 + 1);
        choices.into_iter().try_fold(1u64, u64::checked_mul)
    }

    /// What users of the medium saw last.
    pub fn placed(&self) -> &'a Image {
        &self.cells.placed
    }

    /// What is certain to survive.
    pub fn persistent(&self) -> &'a Image {
        &self.cells.persistent
    }

    /// What is left where this survives.
    pub fn survivors(&self, survival: Survival) -> Image {
        let mut image = self.cells.persistent.clone();
        let newest = self.events().max().unwrap_or(0);
        let oldest = self.events().min().unwrap_or(0);
        let commit_word = self.commit_word(newest);
        let half = self.cells.pending.len() / 2;
        let mut sample = Sample::new(survival);
        for (ordinal, (index, versions)) in self.cells.pending.iter().enumerate() {
            let last = versions.len() - 1;
            let (kept, version) = match survival {
                Survival::None => (false, last),
                Survival::All => (true, last),
                Survival::NewestStore => (versions[last].event == newest, last),
                Survival::AllButNewestStore => {
                    let before = versions.iter().rposition(|version| version.event != newest);
                    (before.is_some(), before.unwrap_or(last))
                }
                Survival::CommitWord => (Some(*index) == commit_word, last),
                Survival::AllButCommitWord => (Some(*index) != commit_word, last),
                Survival::OldestStore => (versions[0].event == oldest, 0),
                Survival::EvenWords => (ordinal % 2 == 0, last),
                Survival::OddWords => (ordinal % 2 == 1, last),
                Survival::LowerHalf => (ordinal < half, last),
                Survival::UpperHalf => (ordinal >= half, last),
                Survival::FirstVersions => (true, 0),
                Survival::Sampled(_) => sample.choose(*index, versions),
            };
            if kept {
                image.set_word(*index, versions[version].word);
            }
        }
        image
    }

    /// Every image that this cut may leave, where there are at most `limit` of them.
    pub fn every_outcome(&self, limit: u64) -> Option<impl Iterator<Item = Image>> {
        let outcomes = self.outcomes().filter(|outcomes| *outcomes <= limit)?;
        let cells = self.cells;
        Some((0..outcomes).map(move |outcome| {
            let mut image = cells.persistent.clone();
            let mut rest = outcome;
            for (index, versions) in &cells.pending {
                let choices = versions.len() as u64 + 1;
                let chosen = usize::try_from(rest % choices).expect("a short list");
                rest /= choices;
                if let Some(version) = chosen.checked_sub(1) {
                    image.set_word(*index, versions[version].word);
                }
            }
            image
        }))
    }

    fn events(&self) -> impl Iterator<Item = usize> {
        self.cells.pending.values().flatten().map(|version| version.event)
    }

    /// The highest word that the newest store placed.
    fn commit_word(&self, newest: usize) -> Option<u64> {
        let by_newest = |versions: &Vec<Version>| versions.iter().any(|version| version.event == newest);
        let words = self
            .cells
            .pending
            .iter()
            .rev()
            .find(|(_, versions)| by_newest(versions));
        words.map(|(index, _)| *index)
    }
}

/// In what pieces a sampled cut loses what it loses.
#[derive(Clone, Copy, Debug)]
enum Grain {
    Word,
    Line,
    Page,
    Store,
}

struct Sample {
    seed: u64,
    grain: Grain,
    /// Of eight pieces so many survive.
    kept_of_eight: u64,
    random: Random,
}

impl Sample {
    fn new(survival: Survival) -> Self {
        let seed = match survival {
            Survival::Sampled(seed) => seed,
            _ => 0,
        };
        let mut random = Random::new(seed);
        let grain = [Grain::Word, Grain::Word, Grain::Line, Grain::Page, Grain::Store]
            [usize::try_from(random.below(5)).expect("small")];
        let kept_of_eight = [1, 4, 7][usize::try_from(random.below(3)).expect("small")];
        Self {
            seed: random.next_u64(),
            grain,
            kept_of_eight,
            random,
        }
    }

    /// The same for all words of one piece.
    fn keeps(&self, piece: u64) -> bool {
        mix(piece ^ self.seed) % 8 < self.kept_of_eight
    }

    fn choose(&mut self, index: u64, versions: &[Version]) -> (bool, usize) {
        let last = versions.len() - 1;
        match self.grain {
            Grain::Word => {
                let version = self.random.below(versions.len() as u64);
                (self.keeps(index), usize::try_from(version).expect("a short list"))
            }
            Grain::Line => (self.keeps(index / (LINE / WORD)), last),
            Grain::Page => (self.keeps(index / (4096 / WORD)), last),
            Grain::Store => {
                let kept = versions
                    .iter()
                    .rposition(|version| self.keeps(version.event as u64));
                (kept.is_some(), kept.unwrap_or(last))
            }
        }
    }
}
