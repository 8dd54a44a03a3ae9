//! Reading a region whose writer is gone for good: what is there, what was torn, and where to go on.

use crate::control::ControlBlock;
use crate::finding::{Finding, HeaderFault};
use crate::geometry::{BLOCK_BYTES, CONTROL_OFFSETS, HEARTBEAT_OFFSET};
use crate::head::Head;
use crate::heartbeat::{FLOOR_BYTES, FLOOR_OFFSET, WORD_OFFSET};
use crate::journal::{Beyond, Place};
use crate::reader::{MAX_ATTEMPTS, corrupt_finding, head_findings, start_of};
use crate::seal::{SEAL_BYTES, SealState};
use crate::set::SetKind;
use crate::source::LOOKS_AT_UNREADABLE;
use crate::{Cursor, Geometry, ReadError, Reader, RegionWrite, Seal, Set, Source};

/// How far a recovery looks behind what seems to be the journal's end for sets that prove otherwise.
/// One piece of the journal, which was read anyway. Where the end shows traces of a set of ours the
/// whole ring is searched, and an offline check always does. (What is missed: a committed set longer
/// than this, at the very end, whose whole header is gone, and which no floor record names.)
pub const NEAR_SCAN_BYTES: u64 = crate::reader::READ_CHUNK_BYTES;

#[expect(clippy::cast_possible_truncation, reason = "a block is small")]
const BLOCK: usize = BLOCK_BYTES as usize;
/// The least that a device loses, and gets back, at once.
const LINE: usize = 64;

/// Where a recovery begins.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// At the newest snapshot.
    Everything,
    /// Behind what a backup has read already. Only while the unit has stayed in the incarnation in which
    /// it was read: a unit that lost power may have lost sets before the cursor, and a journal that went on
    /// behind such a hole would be unreadable. After another incarnation: everything, [`Again`](Self::Again).
    Cursor(&'a Cursor),
    /// At the newest snapshot, though a backup has read up to there before: was it kept?
    Again(&'a Cursor),
}

/// How to recover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryOptions {
    /// The operator's consent to go on behind damage; what is lost stands in the findings.
    pub accept_loss: bool,
    /// Search the whole ring behind the journal's end.
    pub scan_whole: bool,
}

/// What a region holds, and all that its next writer and a takeover certificate need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Where the next writer goes on.
    pub point: ResumePoint,
    /// The newest snapshot, unless it was read before (start at a cursor) or cleared.
    pub snapshot: Option<Set>,
    /// The updates after it (or after the cursor), in order.
    pub updates: Vec<Set>,
    /// Sequence of the last clear mark passed: whatever was read before it is gone.
    pub cleared: Option<u64>,
    /// The start was a cursor, and the space behind it was reused: `(from, to)` in sequences. Then all
    /// was read, from the snapshot on.
    pub overrun: Option<(u64, u64)>,
    /// Whether the walk passed where the backup stands ([`Start::Again`]): what it read is part of what is here.
    pub passed: bool,
    /// Last sequence that is whole: what the next generation continues from.
    pub last_sequence: u64,
    /// Sets found torn behind it (0 or 1: what lies behind a torn set is void).
    pub torn_sets: u64,
    /// Whole sets behind the torn one: never acknowledged, and void.
    pub void_sets: u64,
    /// Everything found that is not a whole set.
    pub findings: Vec<Finding>,
    /// Writes to be committed before the next writer's first, as [`settling`](Self::settling) says: a damaged or outdated
    /// control block copy renewed, what the device cannot read of the head written whole; after an accepted loss also the
    /// seals that do not hold made invalid, and what is unreadable where the journal goes on.
    pub repairs: Vec<RegionWrite>,
    /// Follow on from here.
    pub cursor: Cursor,
}

/// One step of making what was read safe to build on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settling<'a> {
    /// Make everything placed persistent, at the region's level, and await it.
    Persist,
    /// Write these bytes at this offset.
    Write(u64, &'a [u8]),
}

/// Where a writer goes on. Plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The region's geometry.
    pub geometry: Geometry,
    /// Which control block copy holds it.
    pub newest_control_copy: usize,
    /// Logical journal offset of the next set.
    pub head: u64,
    /// Logical journal offset before which space may be reused.
    pub tail: u64,
    /// Highest generation found anywhere in the region.
    pub generation: u64,
    /// Last sequence that is whole.
    pub last_sequence: u64,
    /// Sequence of the next set: above every one found, void ones too.
    pub next_sequence: u64,
    /// Best known floor.
    pub floor: u64,
    /// The newest snapshot that the floor record calls verified, or 0.
    pub recorded_snapshot: u64,
    /// What the slots hold, by slot.
    pub slots: Vec<SlotState>,
}

/// What is known of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// The slot.
    pub slot: u32,
    /// Its seal, where it verifies.
    pub seal: Option<Seal>,
    /// What its payload is worth.
    pub check: SlotCheck,
}

/// What a slot's payload is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotCheck {
    /// No valid seal.
    Empty,
    /// Sealed; the payload was not read.
    Unchecked,
    /// Sealed, and the payload verified when it was read.
    Verified,
    /// Sealed, and the payload does not verify.
    Failed,
}

impl SlotState {
    /// Whether nothing is lost by overwriting it.
    pub fn is_free(&self) -> bool {
        self.seal.is_none() || self.check == SlotCheck::Failed
    }

    pub(crate) fn order(&self) -> (u64, u64) {
        self.seal.as_ref().map_or((0, 0), Seal::order)
    }

    pub(crate) fn verified(&self) -> Option<u64> {
        self.seal
            .as_ref()
            .filter(|_| self.check == SlotCheck::Verified)
            .map(|seal| seal.sequence)
    }
}

impl Recovery {
    /// What to do before the next writer's first set. What was read may only have been placed, so it is made persistent
    /// before a repair rests on it: else power could go while a control block copy and its repair are both torn.
    pub fn settling(&self) -> impl Iterator<Item = Settling<'_>> {
        let writes = self
            .repairs
            .iter()
            .map(|(offset, bytes)| Settling::Write(*offset, bytes));
        let again = (!self.repairs.is_empty()).then_some(Settling::Persist);
        std::iter::once(Settling::Persist).chain(writes).chain(again)
    }

    /// Payload bytes that were read: snapshot and updates.
    pub fn bytes(&self) -> u64 {
        self.snapshot
            .iter()
            .chain(&self.updates)
            .map(|set| set.length)
            .sum()
    }
}

impl Reader {
    /// Reads what is there, from `start` on, when nobody writes any more (the writer was fenced). The
    /// newest snapshot is read and verified unless the cursor knows it.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] at damage, unless the loss is accepted; [`ReadError::Busy`] when somebody
    /// does write; the source's.
    pub fn recover<S: Source>(
        &mut self,
        source: &mut S,
        start: Start<'_>,
        options: &RecoveryOptions,
    ) -> Result<Recovery, ReadError<S::Error>> {
        for _ in 0..MAX_ATTEMPTS {
            let head = self.head_looked_at(source)?;
            let recovery = self.recover_from(source, &head, start, options)?;
            let unreadable = |finding: &Finding| match finding {
                Finding::Unreadable { offset, len } => Some((*offset, *len)),
                _ => None,
            };
            // What is written anew must have been unreadable when it was judged, and be so still: otherwise what it says
            // counts.
            let judged: Vec<_> = recovery.findings.iter().filter_map(unreadable).collect();
            let still =
                head.unreadable.is_empty() || self.head_looked_at(source)?.unreadable == head.unreadable;
            if still && judged == head.unreadable {
                return Ok(recovery);
            }
        }
        Err(ReadError::Busy {
            attempts: MAX_ATTEMPTS,
        })
    }

    fn recover_from<S: Source>(
        &mut self,
        source: &mut S,
        head: &Head,
        start: Start<'_>,
        options: &RecoveryOptions,
    ) -> Result<Recovery, ReadError<S::Error>> {
        let newest = head.snapshots().first().map(|seal| (*seal).clone());
        let mut salvage = Salvage::new(head, options);
        let mut place = match (start, newest) {
            (Start::Cursor(cursor), newest) if !behind(newest.as_ref(), cursor) => {
                salvage.known = cursor.snapshot;
                self.verify_newest(source, &mut salvage)?;
                cursor.place
            }
            (start, newest) => {
                if let (Start::Cursor(cursor), Some(seal)) = (start, &newest) {
                    salvage.overrun = Some((cursor.sequence(), seal.sequence));
                }
                let (seal, payload) = self.load_newest(source, &mut salvage)?;
                let place = start_of(seal.as_ref());
                salvage.snapshot = seal.map(|seal| seal.into_set(payload));
                place
            }
        };
        let tail = salvage.tail().min(place.logical);
        let seen = match start {
            Start::Again(cursor) => Some(cursor.place),
            Start::Everything | Start::Cursor(_) => None,
        };
        // A snapshot may begin just where the backup stands; of the same writer's making, it is of the same history.
        let begins = |seen: Place| place.logical == seen.logical && place.generation == seen.generation;
        salvage.passed = seen.is_some_and(begins);
        self.journal().forget();
        let mut looks = 1;
        let fault = loop {
            match self.journal().step(source, &place)? {
                Err(fault) if fault.is_unreadable() && looks < LOOKS_AT_UNREADABLE => {
                    looks += 1;
                    source.pause();
                    self.journal().forget();
                }
                Ok(header) => {
                    looks = 1;
                    salvage.take(&header, self.journal().payload(&header));
                    place.pass(&header);
                    salvage.passed |= Some(place) == seen;
                }
                Err(fault) => break fault,
            }
        };
        self.judge_end(source, &place, fault, &mut salvage)?;
        Ok(salvage.finish(self, &place, tail))
    }

    /// Reads the newest snapshot for its owner, noting which slots hold and which do not.
    fn load_newest<S: Source>(
        &mut self,
        source: &mut S,
        salvage: &mut Salvage,
    ) -> Result<Loaded, ReadError<S::Error>> {
        for _ in 0..MAX_ATTEMPTS {
            let Some((seal, payload, findings)) =
                self.newest_snapshot(source, salvage.options.accept_loss)?
            else {
                continue;
            };
            salvage.findings = findings;
            for slot in &mut salvage.slots {
                let failed = |finding: &Finding| matches!(finding, Finding::SnapshotCorrupt { slot: bad, .. } if *bad == slot.slot);
                if salvage.findings.iter().any(failed) {
                    slot.check = SlotCheck::Failed;
                }
                if seal.as_ref().is_some_and(|seal| Some(seal) == slot.seal.as_ref()) {
                    slot.check = SlotCheck::Verified;
                }
            }
            return Ok((seal, payload));
        }
        Err(ReadError::Busy {
            attempts: MAX_ATTEMPTS,
        })
    }

    /// A backup that starts at its cursor does not need the newest snapshot, but the next writer must
    /// know that it holds before it lets any other slot go.
    fn verify_newest<S: Source>(
        &mut self,
        source: &mut S,
        salvage: &mut Salvage,
    ) -> Result<(), ReadError<S::Error>> {
        let head = &salvage.head;
        let missing = head.unreadable_seal().is_some() || head.lost_snapshot().is_some();
        let newest = salvage
            .slots
            .iter_mut()
            .filter(|slot| slot.seal.is_some())
            .max_by_key(|slot| slot.order());
        match newest {
            Some(slot) if !missing && salvage.known == Some(slot.order()) => {
                slot.check = SlotCheck::Verified;
            }
            None if !missing => {}
            Some(_) | None => {
                self.load_newest(source, salvage)?;
            }
        }
        Ok(())
    }

    /// The walk has ended at a fault, with nobody writing: torn, corrupt, or simply the end?
    fn judge_end<S: Source>(
        &mut self,
        source: &mut S,
        place: &Place,
        fault: HeaderFault,
        salvage: &mut Salvage,
    ) -> Result<(), ReadError<S::Error>> {
        let begun = names_this_place(&fault, place) || matches!(fault, HeaderFault::Payload { .. });
        // No crash makes bytes unreadable: what lay there may have been acknowledged.
        let unreadable = fault.is_unreadable();
        let unusable = unreadable || matches!(fault, HeaderFault::Version(_) | HeaderFault::Shape(_));
        // Nor does it hide what was acknowledged; without the record a torn set cannot be told from a damaged one.
        let blind = salvage.head.is_unreadable(FLOOR_OFFSET);
        let whole = salvage.options.scan_whole || begun || unusable || blind;
        let window = if whole { u64::MAX } else { NEAR_SCAN_BYTES };
        let beyond = self.journal().scan(source, place, window)?;
        salvage.floor = salvage.floor.max(beyond.floor);
        let geometry = self.geometry().clone();
        let offset = geometry.journal_offset(place.logical);
        let untold = blind && (begun || beyond.sets > 0);
        if salvage.floor > place.sequence || unusable || untold {
            let finding = corrupt_finding(&geometry, place, salvage.floor, fault);
            if !salvage.options.accept_loss {
                return Err(ReadError::Corrupt { finding });
            }
            salvage.findings.push(finding);
            if unreadable {
                salvage.unreadable = self.journal().unreadable_from(source, place)?;
            }
        } else if begun || beyond.sets > 0 {
            salvage.torn_sets = 1;
            salvage.findings.push(Finding::Torn {
                offset,
                logical: place.logical,
                after: place.sequence,
                fault,
            });
        } else if let HeaderFault::OtherLap {
            generation, sequence, ..
        } = fault
        {
            salvage.findings.push(Finding::Stale {
                offset,
                generation,
                sequence,
            });
        } else if let HeaderFault::Void { generation, sequence } = fault {
            salvage.findings.push(Finding::Void {
                offset,
                generation,
                sequence,
            });
        }
        salvage.beyond(beyond);
        Ok(())
    }
}

/// A snapshot's seal, where there is one, and its payload.
type Loaded = (Option<Seal>, Vec<u8>);

/// A recovery in the making.
struct Salvage {
    options: RecoveryOptions,
    head: Head,
    slots: Vec<SlotState>,
    known: Option<(u64, u64)>,
    snapshot: Option<Set>,
    updates: Vec<Set>,
    cleared: Option<u64>,
    overrun: Option<(u64, u64)>,
    passed: bool,
    floor: u64,
    highest_sequence: u64,
    highest_generation: u64,
    torn_sets: u64,
    void_sets: u64,
    findings: Vec<Finding>,
    /// What the next writer goes on over and cannot be read, lines of the device: offset and length.
    unreadable: Option<(u64, u64)>,
}

impl Salvage {
    fn new(head: &Head, options: &RecoveryOptions) -> Self {
        let slots = (0u32..).zip(&head.seals).map(|(slot, state)| match state {
            SealState::Sealed(seal) => SlotState {
                slot,
                seal: Some(seal.clone()),
                check: SlotCheck::Unchecked,
            },
            SealState::Empty | SealState::Broken => SlotState {
                slot,
                seal: None,
                check: SlotCheck::Empty,
            },
        });
        let sealed = head
            .snapshots()
            .iter()
            .map(|seal| seal.sequence)
            .max()
            .unwrap_or(0);
        let recorded = head.floor.map_or(0, |record| record.floor.max(record.snapshot));
        Self {
            options: *options,
            slots: slots.collect(),
            known: None,
            snapshot: None,
            updates: Vec::new(),
            cleared: None,
            overrun: None,
            passed: false,
            floor: head.best_floor(),
            highest_sequence: sealed.max(recorded),
            highest_generation: head.generation(),
            torn_sets: 0,
            void_sets: 0,
            findings: head_findings(head),
            unreadable: None,
            head: head.clone(),
        }
    }

    fn take(&mut self, header: &crate::SetHeader, payload: &[u8]) {
        self.floor = self.floor.max(header.floor);
        match header.kind {
            SetKind::Update => self.updates.push(header.clone().into_set(payload.to_vec())),
            SetKind::Clear => {
                self.cleared = Some(header.sequence);
                self.snapshot = None;
                self.updates.clear();
            }
            SetKind::Snapshot | SetKind::Takeover | SetKind::Wrap => {}
        }
    }

    fn beyond(&mut self, beyond: Beyond) {
        self.void_sets = beyond.sets;
        self.highest_sequence = self.highest_sequence.max(beyond.sequence);
        self.highest_generation = self.highest_generation.max(beyond.generation);
        self.findings.extend(beyond.named);
    }

    /// The journal's start, as the newest verified snapshot has it.
    fn tail(&self) -> u64 {
        let verified = self.slots.iter().filter(|slot| slot.check == SlotCheck::Verified);
        let newest = verified
            .max_by_key(|slot| slot.order())
            .and_then(|slot| slot.seal.as_ref());
        start_of(newest).logical
    }

    fn finish(self, reader: &Reader, place: &Place, tail: u64) -> Recovery {
        let sealed = self
            .slots
            .iter()
            .filter_map(SlotState::verified)
            .max()
            .unwrap_or(0);
        let last_sequence = place.sequence.max(sealed);
        let highest = self.highest_sequence.max(last_sequence).max(self.floor);
        let repairs = self.repairs(reader);
        let verified = self.slots.iter().filter(|slot| slot.check == SlotCheck::Verified);
        let snapshot = verified.map(SlotState::order).max();
        let point = ResumePoint {
            geometry: reader.geometry().clone(),
            newest_control_copy: self.head.control.newest_copy,
            head: place.logical,
            tail,
            generation: self.highest_generation.max(place.generation),
            last_sequence,
            next_sequence: highest.saturating_add(1),
            floor: self.floor.min(last_sequence),
            recorded_snapshot: self.head.floor.map_or(0, |record| record.snapshot),
            slots: self.slots,
        };
        Recovery {
            point,
            snapshot: self.snapshot,
            updates: self.updates,
            cleared: self.cleared,
            overrun: self.overrun,
            passed: self.passed,
            last_sequence,
            torn_sets: self.torn_sets,
            void_sets: self.void_sets,
            findings: self.findings,
            repairs,
            cursor: Cursor::new(*place, snapshot),
        }
    }

    fn repairs(&self, reader: &Reader) -> Vec<RegionWrite> {
        let control = &self.head.control;
        let mut repairs = Vec::new();
        if control.damaged_copy.is_some() || control.outdated_copy {
            let offset = CONTROL_OFFSETS[1 - control.newest_copy];
            let mut bytes = ControlBlock::encode(reader.region(), &control.geometry).to_vec();
            if self.head.is_unreadable(offset) {
                bytes.resize(BLOCK, 0);
            }
            repairs.push((offset, bytes));
        }
        let geometry = reader.geometry();
        // First of all: nothing can be written into a part of what is unreadable.
        repairs.extend(self.rewritten(geometry));
        if self.findings.iter().any(Finding::is_corruption) {
            // Or every later reader would stop at the same damage, which was consented to once.
            repairs.push((FLOOR_OFFSET, vec![0; FLOOR_BYTES]));
            let failed = self.slots.iter().filter(|slot| slot.check == SlotCheck::Failed);
            repairs.extend(failed.map(|slot| (geometry.seal_offset(slot.slot), vec![0; SEAL_BYTES])));
        }
        repairs
    }

    /// What the device cannot read and, as was judged (or consented to), holds nothing that is needed; written whole, it can
    /// be read again.
    fn rewritten(&self, geometry: &Geometry) -> impl Iterator<Item = RegionWrite> {
        let [word, floor] = [WORD_OFFSET, FLOOR_OFFSET].map(|offset| self.head.is_unreadable(offset));
        let heartbeat = match (word, floor) {
            (true, true) => Some((HEARTBEAT_OFFSET, BLOCK)),
            (true, false) => Some((WORD_OFFSET, LINE)),
            (false, true) => Some((FLOOR_OFFSET, LINE)),
            (false, false) => None,
        };
        let seals = self.slots.iter().map(|slot| geometry.seal_offset(slot.slot));
        let seals = seals.filter(|offset| self.head.is_unreadable(*offset));
        let ring = self.unreadable.map(|(offset, len)| {
            let len = usize::try_from(len).expect("a bounded piece of the ring");
            (offset, len)
        });
        let all: Vec<_> = heartbeat
            .into_iter()
            .chain(seals.map(|offset| (offset, BLOCK)))
            .chain(ring)
            .collect();
        all.into_iter().map(|(offset, len)| (offset, vec![0; len]))
    }
}

/// Whether the space in which the cursor stands may have been reused.
fn behind(newest: Option<&Seal>, cursor: &Cursor) -> bool {
    newest.is_some_and(|seal| seal.journal_start > cursor.logical())
}

/// Whether a header that does not verify was meant for this place: two of the three numbers that it
/// names agree, so damage to any one field does not hide it, and what an earlier lap left does not pass for it.
pub(crate) fn names_this_place(fault: &HeaderFault, place: &Place) -> bool {
    let HeaderFault::Checksum {
        sequence,
        generation,
        logical,
    } = *fault
    else {
        return false;
    };
    let agreeing = [
        sequence > place.sequence,
        generation >= place.generation,
        logical == place.logical,
    ];
    agreeing.into_iter().filter(|agrees| *agrees).count() >= 2
}
