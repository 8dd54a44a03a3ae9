//! A region with everything in it, and what each of its bytes is there for.

use std::collections::BTreeMap;
use std::ops::Range;

use outlive_layout::geometry::CONTROL_OFFSETS;
use outlive_layout::heartbeat::{FLOOR_BYTES, FLOOR_OFFSET, WORD_OFFSET};
use outlive_layout::seal::{SEAL_BYTES, SealState};
use outlive_layout::set::SET_HEADER_BYTES;
use outlive_layout::{Geometry, Reader, Seal, SetHeader, SetKind, Start};

use crate::damaged::Damaged;
use crate::region::REGION;
use crate::region::primary::{Primary, SAVE_PHASES};

const CONTROL_BYTES: usize = 88;

/// What a byte is there for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    Control(usize),
    Word,
    Floor,
    Seal(u32),
    /// A snapshot's payload.
    Payload(u32),
    /// A journal set's header or payload, by its place in [`Model::sets`].
    Set(usize),
    /// Read by nobody: blocks beyond what they hold, slots beyond their payload, padding behind a set.
    Padding,
    /// What is left in the ring of sets that were overwritten in part, or were never acknowledged.
    Leftover,
}

/// A whole set in the ring.
#[derive(Clone, Debug)]
pub(crate) struct RingSet {
    pub(crate) header: SetHeader,
    pub(crate) offset: usize,
    /// Whether it stands behind the newest snapshot.
    pub(crate) current: bool,
    /// The last sequence before it.
    pub(crate) after: u64,
    /// What whoever reads up to it has.
    pub(crate) before: Vec<u32>,
}

pub(crate) struct Model {
    pub(crate) bytes: Vec<u8>,
    /// The same region a while ago.
    pub(crate) earlier: Vec<u8>,
    pub(crate) geometry: Geometry,
    pub(crate) seals: Vec<Seal>,
    pub(crate) newest: Seal,
    pub(crate) sets: Vec<RingSet>,
    uses: Vec<Use>,
    /// What the primary left last.
    pub(crate) state: Vec<u32>,
    /// Every state that ever was.
    pub(crate) states: Vec<Vec<u32>>,
}

/// Three slots, and the smallest ring.
fn geometry() -> Geometry {
    Geometry::new(12_288 + 3 * 8192 + 16_384, 3, 4096).expect("fits")
}

struct Story {
    primary: Primary,
    states: Vec<Vec<u32>>,
    before: BTreeMap<u64, Vec<u32>>,
}

impl Story {
    fn append(&mut self, length: usize) {
        let before = self.primary.items.clone();
        let plan = self.primary.append(length).expect("room");
        self.before.insert(plan.sequence, before);
        self.states.push(self.primary.items.clone());
    }

    fn save(&mut self) {
        self.primary.commit();
        self.primary.save(SAVE_PHASES, &mut |_| {});
    }

    fn take_over(&mut self) {
        let _ = self.primary.taken_over(Start::Everything);
        let sequence = self.primary.writer.last_sequence();
        self.before.insert(sequence, self.primary.items.clone());
        self.primary.commit();
    }
}

impl Model {
    pub(crate) fn new() -> Self {
        let mut story = Story {
            primary: Primary::create(&geometry()),
            states: vec![Vec::new()],
            before: BTreeMap::from([(1, Vec::new())]),
        };
        // More than a lap, so that the ring holds what is left of the one before.
        for length in [1300, 20, 1800, 700] {
            story.append(length);
        }
        story.save();
        for length in [900, 1500, 3, 1000] {
            story.append(length);
        }
        let mut earlier = story.primary.region.placed.clone();
        story.save();
        for length in [800, 1200, 2500, 1900] {
            story.append(length);
        }
        story.save();
        story.append(33);
        story.primary.clear().expect("room");
        story.states.push(Vec::new());
        story.append(120);
        story.primary.commit();
        story.take_over();
        story.save();
        story.append(90);
        story.append(700);
        story.append(64);
        story.save();
        earlier[..8192].copy_from_slice(&story.primary.region.placed[..8192]);
        // Pipelined, never acknowledged, and taken over from.
        for length in [300, 50, 17] {
            story.append(length);
        }
        story.primary.commit();
        story.primary.beat();
        story.primary.commit();
        story.append(400);
        story.append(500);
        story.primary.region.commit();
        let torn = usize::try_from(story.primary.writer.head()).expect("small");
        let torn = usize::try_from(geometry().journal_offset(torn as u64)).expect("small") - 300;
        story.primary.region.placed[torn] ^= 1;
        story.take_over();
        story.append(26);
        story.append(0);
        story.primary.commit();
        story.primary.beat();
        story.primary.commit();
        Self::of(story, earlier)
    }

    fn of(story: Story, earlier: Vec<u8>) -> Self {
        let bytes = story.primary.region.placed.clone();
        let geometry = story.primary.writer.geometry().clone();
        let seals: Vec<Seal> = (0..geometry.slots)
            .filter_map(|slot| seal(&geometry, slot, &bytes))
            .collect();
        let newest = seals
            .iter()
            .max_by_key(|seal| seal.order())
            .expect("saved")
            .clone();
        let mut source = Damaged::of(&bytes);
        let mut reader = Reader::open(&mut source, REGION, bytes.len() as u64).expect("whole");
        let (log, findings) = reader.log(&mut source).expect("readable");
        assert_eq!(findings, [], "nothing is damaged yet");
        let sets = ring_sets(&story, &geometry, &newest, &log, &bytes);
        let mut model = Self {
            uses: vec![Use::Padding; bytes.len()],
            bytes,
            earlier,
            geometry,
            seals,
            newest,
            sets,
            state: story.primary.items.clone(),
            states: story.states,
        };
        model.lay_out();
        model.assert_rich();
        model
    }

    fn lay_out(&mut self) {
        let ring = span(self.geometry.ring_start, index(self.geometry.ring_len));
        self.uses[ring].fill(Use::Leftover);
        for (copy, offset) in CONTROL_OFFSETS.into_iter().enumerate() {
            self.uses[span(offset, CONTROL_BYTES)].fill(Use::Control(copy));
        }
        self.uses[span(WORD_OFFSET, 8)].fill(Use::Word);
        self.uses[span(FLOOR_OFFSET, FLOOR_BYTES)].fill(Use::Floor);
        for seal in &self.seals {
            self.uses[span(self.geometry.seal_offset(seal.slot), SEAL_BYTES)].fill(Use::Seal(seal.slot));
            let payload = span(self.geometry.slot_offset(seal.slot), index(seal.length));
            self.uses[payload].fill(Use::Payload(seal.slot));
        }
        for (number, set) in self.sets.iter().enumerate() {
            self.uses[set.offset..][..index(set.header.stride)].fill(Use::Padding);
            let used = SET_HEADER_BYTES + index(set.header.length);
            self.uses[set.offset..][..used].fill(Use::Set(number));
        }
    }

    /// The scenario has everything that is to be damaged.
    fn assert_rich(&self) {
        assert_eq!(self.seals.len(), 3, "all slots hold snapshots");
        let count = |wanted: SetKind, current: bool| {
            let sets = self.sets.iter();
            sets.filter(|set| set.header.kind == wanted && set.current == current)
                .count()
        };
        assert!(count(SetKind::Update, true) >= 4 && count(SetKind::Update, false) >= 3);
        assert!(count(SetKind::Takeover, true) == 1 && count(SetKind::Takeover, false) >= 1);
        assert!(count(SetKind::Clear, false) >= 1, "{:?}", self.sets);
        assert!(
            count(SetKind::Wrap, true) + count(SetKind::Wrap, false) >= 1,
            "{:#?}",
            self.sets
                .iter()
                .map(|set| (
                    set.header.kind,
                    set.header.logical,
                    set.header.stride,
                    set.current
                ))
                .collect::<Vec<_>>()
        );
        let leftover = self.uses.iter().filter(|byte| **byte == Use::Leftover).count();
        assert!(leftover > 500, "{leftover} bytes of laps before and of void sets");
    }

    /// Where the next set would go.
    pub(crate) fn end(&self) -> (u64, usize) {
        let last = self
            .sets
            .iter()
            .map(|set| set.header.logical + set.header.stride)
            .max();
        let logical = last.expect("sets");
        (logical, index(self.geometry.journal_offset(logical)))
    }

    pub(crate) fn use_of(&self, at: usize) -> &Use {
        &self.uses[at]
    }
}

fn ring_sets(
    story: &Story,
    geometry: &Geometry,
    newest: &Seal,
    log: &[outlive_layout::Set],
    bytes: &[u8],
) -> Vec<RingSet> {
    let ring = span(geometry.ring_start, index(geometry.ring_len));
    let mut whole: Vec<(SetHeader, usize)> = ring
        .step_by(8)
        .filter_map(|at| Some((SetHeader::decode_anywhere(REGION, &bytes[at..]).ok()?, at)))
        .filter(|(header, at)| geometry.journal_offset(header.logical) == *at as u64)
        .collect();
    whole.sort_by_key(|(header, _)| (header.logical, header.generation));
    // The walk knows which of them count; wraps go with the set behind them.
    let counts = |header: &SetHeader| {
        let next = header.logical + header.stride;
        let logical = if header.kind == SetKind::Wrap {
            next
        } else {
            header.logical
        };
        let generation = header.generation;
        log.iter().any(|set| {
            set.kind != SetKind::Snapshot && set.logical == logical && set.generation == generation
        })
    };
    whole.retain(|(header, _)| counts(header));
    let mut sets = Vec::new();
    let kept = log.iter().filter(|set| set.kind == SetKind::Snapshot);
    let mut after = kept.map(|set| set.sequence).min().unwrap_or(0);
    for (number, (header, offset)) in whole.iter().enumerate() {
        let current = header.logical >= newest.journal_start;
        if current && after < newest.sequence {
            after = newest.sequence;
        }
        let named = if header.kind == SetKind::Wrap {
            number + 1
        } else {
            number
        };
        let before = story.before.get(&whole[named].0.sequence);
        sets.push(RingSet {
            header: header.clone(),
            offset: *offset,
            current,
            after,
            before: before.cloned().unwrap_or_default(),
        });
        after = header.sequence;
    }
    sets
}

fn seal(geometry: &Geometry, slot: u32, bytes: &[u8]) -> Option<Seal> {
    match Seal::decode(
        REGION,
        geometry,
        slot,
        &bytes[index(geometry.seal_offset(slot))..],
    ) {
        SealState::Sealed(seal) => Some(seal),
        SealState::Empty | SealState::Broken => None,
    }
}

fn span(offset: u64, len: usize) -> Range<usize> {
    index(offset)..index(offset) + len
}

pub(crate) fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("small")
}
