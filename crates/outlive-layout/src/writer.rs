//! The writing side of a checkpoint region, without I/O.
//!
//! A [`Writer`] keeps where the journal stands and what the slots hold, and turns each operation into
//! a plan: bytes and where they go. Its driver posts them, awaits their commit and tells the writer.
//! Planned means taken: the head has moved on, so every plan must be posted, in order; after a lost
//! connection it is posted again as it was (the same bytes at the same places), or the region is
//! recovered and a new writer resumed.

use thiserror::Error;

use crate::recovery::{ResumePoint, SlotCheck, SlotState};
use crate::set::{SET_HEADER_BYTES, SetHeader, SetKind};
use crate::{FloorRecord, Geometry, RegionId, ResizeError, ResizePlan, SealedSnapshot, SnapshotPlan, resize};

/// The writer of one region in one generation.
#[derive(Clone, Debug)]
pub struct Writer {
    region: RegionId,
    generation: u64,
    geometry: Geometry,
    older_control_copy: usize,
    head: u64,
    tail: u64,
    next_sequence: u64,
    floor: u64,
    verified_snapshot: u64,
    /// The newest snapshot that recovery verified. Its seal may only have been placed: what was read is persistent, and may
    /// be named in a floor record, from the commit of this writer's first set on.
    found_snapshot: u64,
    first_sequence: u64,
    slots: Vec<SlotState>,
    snapshot_under_way: Option<u32>,
    /// Sequence of the last set planned for the journal.
    last_journal: u64,
    /// The last sequence reserved for a snapshot, and the last journal set's then.
    last_reserved: Option<(u64, u64)>,
    /// The takeover set for which there was no room; nothing is planned for the journal before it is.
    owed: Option<MarkFields>,
}

/// One set for the journal: [`wrap`](Self::wrap) where there is one, and the set itself as one
/// contiguous write of [`header`](Self::header) and the payload at [`offset`](Self::offset). It is
/// committed when all of its writes and all journal sets before it are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPlan {
    /// The set's sequence.
    pub sequence: u64,
    /// What it is.
    pub kind: SetKind,
    /// A sealed header that fills the ring's end, to be posted along.
    pub wrap: Option<HeaderWrite>,
    /// Where the header goes.
    pub offset: u64,
    /// The sealed header; the payload follows at once. Padding behind it is never read.
    pub header: [u8; SET_HEADER_BYTES],
    /// Payload bytes.
    pub length: u64,
}

/// A sealed header by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderWrite {
    /// Where it goes.
    pub offset: u64,
    /// Its bytes.
    pub header: [u8; SET_HEADER_BYTES],
}

/// How full a journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalUsage {
    /// Bytes that are not yet behind a verified snapshot.
    pub used: u64,
    /// Bytes that updates may use.
    pub capacity: u64,
}

/// Why a write was not planned. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// No space that may be reused. Save a snapshot (or resize), then go on.
    #[error(
        "the journal is full: {used} of {capacity} bytes are in use and {needed} more are needed; save a snapshot"
    )]
    JournalFull {
        /// Bytes in use.
        used: u64,
        /// Bytes that may be in use.
        capacity: u64,
        /// Bytes asked for.
        needed: u64,
    },
    /// Larger than one set may be.
    #[error("a {kind} of {length} bytes is too large; this region takes at most {max}")]
    TooLarge {
        /// What.
        kind: SetKind,
        /// Asked for.
        length: u64,
        /// Bound.
        max: u64,
    },
    /// One snapshot is written at a time.
    #[error("another snapshot is under way")]
    SnapshotUnderWay,
    /// The newest snapshot has not been verified since it was found; verify it, and tell
    /// [`Writer::slot_checked`], before another slot is overwritten.
    #[error("the snapshot in slot {slot} must be verified first")]
    VerifyFirst {
        /// The slot.
        slot: u32,
    },
    /// A writer needs a generation above every one found in the region.
    #[error("generation {generation} is not above {found}, which the region already holds")]
    Generation {
        /// Offered.
        generation: u64,
        /// Found.
        found: u64,
    },
    /// Sequences or logical offsets are used up (2^63 of them).
    #[error("the region's sequences are used up")]
    Exhausted,
}

/// Sequences and logical offsets end here; unreachable by honest writing, so what lies beyond was forged.
const LAST_NUMBER: u64 = 1 << 63;

impl Writer {
    /// Goes on where a recovery ended, in a new generation. The plan is the takeover set, which every
    /// primary (the first one too) writes before anything else. Before it is posted, what was read
    /// must be persistent at the region's level: do first what [`Recovery::settling`](crate::Recovery::settling) says,
    /// and tell nobody anything before the takeover set is committed. Write the [`floor_record`](Self::floor_record) with
    /// the repairs, before the takeover set: a follower that had read more than survived learns of the new generation from it.
    ///
    /// # Errors
    /// [`WriteError::Generation`] when the generation is not above those found;
    /// [`WriteError::JournalFull`] when even the reserve is used up (hundreds of takeovers without one
    /// snapshot); see [`resume_owing`](Self::resume_owing).
    pub fn resume(
        region: RegionId,
        point: &ResumePoint,
        generation: u64,
        time_ns: u64,
    ) -> Result<(Self, SetPlan), WriteError> {
        let (writer, plan) = Self::resume_owing(region, point, generation, time_ns)?;
        let plan = plan.ok_or_else(|| writer.full(SET_HEADER_BYTES as u64, writer.geometry.ring_len))?;
        Ok((writer, plan))
    }

    /// As [`resume`](Self::resume), also where even the reserve is used up. Then there is no takeover set:
    /// the writer refuses all but snapshots, until one has made room (or a resize did) and
    /// [`owed_takeover`](Self::owed_takeover) was posted. A region can always be saved to.
    ///
    /// # Errors
    /// [`WriteError::Generation`], [`WriteError::Exhausted`].
    pub fn resume_owing(
        region: RegionId,
        point: &ResumePoint,
        generation: u64,
        time_ns: u64,
    ) -> Result<(Self, Option<SetPlan>), WriteError> {
        if generation <= point.generation {
            return Err(WriteError::Generation {
                generation,
                found: point.generation,
            });
        }
        let verified = point.slots.iter().filter_map(SlotState::verified);
        let found_snapshot = verified.max().unwrap_or(0);
        let mut writer = Self {
            region,
            generation,
            geometry: point.geometry.clone(),
            older_control_copy: 1 - point.newest_control_copy.min(1),
            head: point.head,
            tail: point.tail,
            next_sequence: point.next_sequence,
            floor: point.floor,
            verified_snapshot: found_snapshot.min(point.recorded_snapshot),
            found_snapshot,
            first_sequence: point.next_sequence,
            slots: point.slots.clone(),
            snapshot_under_way: None,
            last_journal: 0,
            last_reserved: None,
            owed: Some(MarkFields {
                time_ns,
                continues: point.last_sequence,
                predecessor: point.generation,
            }),
        };
        match writer.plan_owed() {
            Ok(plan) => Ok((writer, plan)),
            Err(WriteError::JournalFull { .. }) => Ok((writer, None)),
            Err(error) => Err(error),
        }
    }

    /// Plans the takeover set that found no room when the writer resumed, as soon as there is room. To be posted before
    /// any other set. `None` where none is owed, and where there is no room yet.
    pub fn owed_takeover(&mut self) -> Option<SetPlan> {
        self.plan_owed().ok().flatten()
    }

    /// Plans an update. The payload is not copied; the driver posts header and payload as one write.
    ///
    /// # Errors
    /// [`WriteError::JournalFull`], [`WriteError::TooLarge`].
    pub fn append(&mut self, payload: &[u8], time_ns: u64) -> Result<SetPlan, WriteError> {
        self.append_parts(&[payload], time_ns)
    }

    /// As [`append`](Self::append), for a payload in several parts.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn append_parts(&mut self, payload: &[&[u8]], time_ns: u64) -> Result<SetPlan, WriteError> {
        let length = payload.iter().map(|part| part.len() as u64).sum();
        let max = self.geometry.max_update();
        if length > max {
            return Err(WriteError::TooLarge {
                kind: SetKind::Update,
                length,
                max,
            });
        }
        self.owes_nothing()?;
        let (wrap, logical, stride) = self.place(length, self.geometry.journal_capacity())?;
        let mut checksum = SetHeader::payload_checksum(self.region, self.generation, logical);
        payload.iter().for_each(|part| checksum.update(part));
        let fields = MarkFields {
            time_ns,
            continues: 0,
            predecessor: self.generation,
        };
        Ok(self.take(
            SetKind::Update,
            wrap,
            logical,
            stride,
            length,
            checksum.value(),
            &fields,
        ))
    }

    /// Plans a clear mark: every set before it vanishes from ordinary reads. It may use the reserve.
    ///
    /// # Errors
    /// [`WriteError::JournalFull`] when the reserve is used up too.
    pub fn clear(&mut self, time_ns: u64) -> Result<SetPlan, WriteError> {
        self.owes_nothing()?;
        let fields = MarkFields {
            time_ns,
            continues: self.next_sequence - 1,
            predecessor: self.generation,
        };
        self.mark(SetKind::Clear, &fields)
    }

    /// Begins a snapshot of `length` bytes: reserves its sequence and captures the journal's head. It
    /// stands for the state after every set planned so far.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`], [`WriteError::SnapshotUnderWay`], [`WriteError::VerifyFirst`].
    pub fn begin_snapshot(&mut self, length: u64, time_ns: u64) -> Result<SnapshotPlan, WriteError> {
        let max = self.geometry.max_snapshot;
        if length > max {
            return Err(WriteError::TooLarge {
                kind: SetKind::Snapshot,
                length,
                max,
            });
        }
        if self.snapshot_under_way.is_some() {
            return Err(WriteError::SnapshotUnderWay);
        }
        let slot = self.choose_slot()?;
        let sequence = self.reserve_sequence()?;
        self.last_reserved = Some((sequence, self.last_journal));
        self.snapshot_under_way = Some(slot);
        #[cfg(feature = "deliberate-bugs")]
        if crate::bugs::Bug::ReclaimAtOnce.is_made() {
            self.tail = self.head;
        }
        let state = self.slot_mut(slot);
        state.seal = None;
        state.check = SlotCheck::Empty;
        let seal = crate::Seal {
            slot,
            generation: self.generation,
            sequence,
            time_ns,
            length,
            journal_start: self.head,
            floor: self.floor,
            payload_crc: 0,
        };
        Ok(SnapshotPlan {
            region: self.region,
            geometry: self.geometry.clone(),
            seal,
        })
    }

    /// The seal is committed: the snapshot is, though no space is free yet.
    pub fn snapshot_committed(&mut self, snapshot: &SealedSnapshot) {
        let state = self.slot_mut(snapshot.seal.slot);
        state.seal = Some(snapshot.seal.clone());
        state.check = SlotCheck::Unchecked;
    }

    /// The snapshot was read back and verified: the journal before it is free.
    pub fn snapshot_verified(&mut self, snapshot: &SealedSnapshot) {
        self.snapshot_committed(snapshot);
        self.snapshot_under_way = None;
        self.slot_checked(snapshot.seal.slot, true);
    }

    /// The snapshot under way was given up or did not verify; its slot is the next to be overwritten.
    pub fn snapshot_failed(&mut self) {
        if let Some(slot) = self.snapshot_under_way.take() {
            self.slot_mut(slot).check = SlotCheck::Failed;
        }
    }

    /// Tells whether the payload of a slot that recovery found unchecked verifies.
    pub fn slot_checked(&mut self, slot: u32, verifies: bool) {
        let state = self.slot_mut(slot);
        let Some(seal) = state.seal.clone() else { return };
        state.check = if verifies {
            SlotCheck::Verified
        } else {
            SlotCheck::Failed
        };
        if verifies && self.newest_verified() == Some(slot) {
            self.tail = self.tail.max(seal.journal_start);
            self.verified_snapshot = seal.sequence;
        }
    }

    /// The journal set of that sequence ([`SetPlan::sequence`]) and all journal sets before it are
    /// committed. The floor is a journal sequence and never a snapshot's: a reader takes a floor above
    /// the last set it sees for proof that one is missing.
    pub fn journal_committed(&mut self, sequence: u64) {
        let sequence = match self.last_reserved {
            Some((snapshot, journal)) if snapshot == sequence => journal,
            _ => sequence.min(self.last_journal),
        };
        self.floor = self.floor.max(sequence);
        if sequence >= self.first_sequence {
            self.verified_snapshot = self.verified_snapshot.max(self.found_snapshot);
        }
    }

    /// Highest journal sequence known committed.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// What to write, sealed, at [`FLOOR_OFFSET`](crate::heartbeat::FLOOR_OFFSET) with heartbeats and when idle.
    pub fn floor_record(&self, time_ns: u64) -> FloorRecord {
        FloorRecord {
            generation: self.generation,
            floor: self.floor,
            snapshot: self.verified_snapshot,
            time_ns,
        }
    }

    /// How full the journal is.
    pub fn usage(&self) -> JournalUsage {
        JournalUsage {
            used: self.head - self.tail,
            capacity: self.geometry.journal_capacity(),
        }
    }

    /// The region's geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The region.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// The writer's generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Sequence of the last set planned.
    pub fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// Logical journal offset at which the next set goes.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Logical journal offset before which space may be reused.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// What the slots hold.
    pub fn slots(&self) -> &[SlotState] {
        &self.slots
    }

    /// Plans the growth of the region to `size` bytes. Needs quiet: no set in flight, no snapshot under
    /// way, and nothing planned until [`resized`](Self::resized).
    ///
    /// # Errors
    /// [`ResizeError`]; nothing changed.
    pub fn plan_resize(&self, size: u64) -> Result<ResizePlan, ResizeError> {
        if self.snapshot_under_way.is_some() {
            return Err(ResizeError::SnapshotUnderWay);
        }
        resize::plan(
            self.region,
            &self.geometry,
            size,
            self.tail,
            self.head,
            self.older_control_copy,
        )
    }

    /// Every phase of the plan is committed: the new geometry holds.
    pub fn resized(&mut self, plan: &ResizePlan) {
        self.geometry = plan.geometry().clone();
    }

    fn plan_owed(&mut self) -> Result<Option<SetPlan>, WriteError> {
        let Some(fields) = self.owed.clone() else {
            return Ok(None);
        };
        let plan = self.mark(SetKind::Takeover, &fields)?;
        self.owed = None;
        Ok(Some(plan))
    }

    /// A set of this generation before its takeover set would not be found by whoever reads on from an older one.
    fn owes_nothing(&self) -> Result<(), WriteError> {
        if self.owed.is_none() {
            return Ok(());
        }
        Err(self.full(SET_HEADER_BYTES as u64, self.geometry.ring_len))
    }

    fn full(&self, needed: u64, capacity: u64) -> WriteError {
        WriteError::JournalFull {
            used: self.head - self.tail,
            capacity,
            needed,
        }
    }

    fn mark(&mut self, kind: SetKind, fields: &MarkFields) -> Result<SetPlan, WriteError> {
        let (wrap, logical, stride) = self.place(0, self.geometry.ring_len)?;
        let crc = SetHeader::payload_checksum(self.region, self.generation, logical).value();
        Ok(self.take(kind, wrap, logical, stride, 0, crc, fields))
    }

    /// Finds room for a set: bytes to skip by a wrap, the set's logical offset and its stride.
    fn place(&self, length: u64, capacity: u64) -> Result<(u64, u64, u64), WriteError> {
        if self.next_sequence >= LAST_NUMBER || self.head >= LAST_NUMBER {
            return Err(WriteError::Exhausted);
        }
        let max = self.geometry.max_update();
        let mut stride = SetHeader::least_stride(length).ok_or(WriteError::TooLarge {
            kind: SetKind::Update,
            length,
            max,
        })?;
        let room = self.geometry.ring_room(self.head);
        let wrap = if stride > room { room } else { 0 };
        let room = if wrap > 0 { self.geometry.ring_len } else { room };
        // No gap too small for a header is ever left at the ring's end, so a reader needs no rule for it.
        if room - stride < SET_HEADER_BYTES as u64 {
            stride = room;
        }
        let needed = wrap + stride;
        if self.head - self.tail + needed > capacity {
            return Err(self.full(needed, capacity));
        }
        Ok((wrap, self.head + wrap, stride))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one private place where a header is made"
    )]
    fn take(
        &mut self,
        kind: SetKind,
        wrap: u64,
        logical: u64,
        stride: u64,
        length: u64,
        payload_crc: u32,
        fields: &MarkFields,
    ) -> SetPlan {
        let wrap = (wrap > 0).then(|| {
            let crc = SetHeader::payload_checksum(self.region, self.generation, self.head).value();
            self.next_header(SetKind::Wrap, wrap, 0, crc, fields).1
        });
        debug_assert_eq!(self.head, logical, "a wrap ends where its set begins");
        let (sequence, write) = self.next_header(kind, stride, length, payload_crc, fields);
        SetPlan {
            sequence,
            kind,
            wrap,
            offset: write.offset,
            header: write.header,
            length,
        }
    }

    fn next_header(
        &mut self,
        kind: SetKind,
        stride: u64,
        length: u64,
        payload_crc: u32,
        fields: &MarkFields,
    ) -> (u64, HeaderWrite) {
        let header = SetHeader {
            kind,
            generation: self.generation,
            sequence: self.next_sequence,
            logical: self.head,
            time_ns: fields.time_ns,
            length,
            stride,
            floor: self.floor,
            continues: fields.continues,
            predecessor: fields.predecessor,
            payload_crc,
        };
        #[cfg(feature = "deliberate-bugs")]
        let header = SetHeader {
            floor: match crate::bugs::Bug::FloorAhead.is_made() {
                true => self.last_journal,
                false => header.floor,
            },
            ..header
        };
        let write = HeaderWrite {
            offset: self.geometry.journal_offset(self.head),
            header: header.encode(self.region),
        };
        self.last_journal = self.next_sequence;
        self.next_sequence += 1;
        self.head += stride;
        (header.sequence, write)
    }

    fn reserve_sequence(&mut self) -> Result<u64, WriteError> {
        if self.next_sequence >= LAST_NUMBER {
            return Err(WriteError::Exhausted);
        }
        self.next_sequence += 1;
        Ok(self.next_sequence - 1)
    }

    /// A slot without a whole snapshot, or else the oldest; never the newest verified one. A newest one
    /// that nobody has verified yet must be checked before: it may be all there is, or worth nothing.
    fn choose_slot(&self) -> Result<u32, WriteError> {
        if let Some(slot) = self.slots.iter().find(|slot| slot.is_free()) {
            return Ok(slot.slot);
        }
        let newest = self
            .slots
            .iter()
            .max_by_key(|slot| slot.order())
            .expect("a region has two slots at least");
        if newest.check != SlotCheck::Verified {
            return Err(WriteError::VerifyFirst { slot: newest.slot });
        }
        Ok(self
            .slots
            .iter()
            .min_by_key(|slot| slot.order())
            .expect("a region has two slots at least")
            .slot)
    }

    fn newest_verified(&self) -> Option<u32> {
        let verified = self.slots.iter().filter(|slot| slot.check == SlotCheck::Verified);
        verified.max_by_key(|slot| slot.order()).map(|slot| slot.slot)
    }

    fn slot_mut(&mut self, slot: u32) -> &mut SlotState {
        self.slots
            .iter_mut()
            .find(|state| state.slot == slot)
            .expect("plans name slots of this region")
    }
}

#[derive(Clone, Debug)]
struct MarkFields {
    time_ns: u64,
    continues: u64,
    predecessor: u64,
}
