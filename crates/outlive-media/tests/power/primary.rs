//! A primary that writes a region with the layout's writer and notes what it was promised at each event.

use std::rc::Rc;

use outlive_layout::heartbeat::FLOOR_OFFSET;
use outlive_layout::{
    FloorRecord, Geometry, ResizeError, SealedSnapshot, SetPlan, Settling, SnapshotPlan, WriteError, Writer,
};
use outlive_media::Medium;
use outlive_media::simulated::{Image, Random, SimulatedMedia};

use crate::bug::Bug;
use crate::content::Content;
use crate::region::{Found, Milestone, OnMedium, Region, Snapshots, State, recover};

const TIME_NS: u64 = 7;
/// Snapshots are sent in pieces of this size.
const PIECE_BYTES: usize = 1000;

/// One thing that a primary does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Append,
    Commit,
    Save,
    Clear,
    Beat,
    /// The region grows by so many blocks.
    Grow(u64),
    /// It is opened by the next generation; nobody crashed.
    Reopen,
}

/// Everything about a scenario that stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) region: Region,
    pub(crate) bug: Option<Bug>,
}

#[derive(Debug)]
pub(crate) struct Primary<C> {
    pub(crate) setting: Setting,
    pub(crate) media: SimulatedMedia,
    medium: Medium,
    writer: Writer,
    pub(crate) content: C,
    /// The state acknowledged last, and every one since.
    states: Vec<State>,
    acknowledged: usize,
    verified: u64,
    pub(crate) snapshots: Snapshots,
    milestones: Vec<Milestone>,
    random: Random,
}

impl<C: Content> Primary<C> {
    /// Lays a region out on a medium that holds garbage there, and opens it for the first time.
    pub(crate) fn create(
        setting: Setting,
        geometry: &Geometry,
        mut image: Image,
        content: C,
        seed: u64,
    ) -> Result<Self, String> {
        let mut random = Random::new(seed);
        let ring = setting.region.start + geometry.ring_start;
        for at in (ring..ring + geometry.ring_len).step_by(64) {
            image.write(at, &random.next_u64().to_le_bytes());
        }
        let media = SimulatedMedia::of(image);
        let medium = media.medium();
        for (offset, bytes) in geometry.format(setting.region.id) {
            medium
                .store(setting.region.start + offset, &bytes)
                .expect("it works");
        }
        medium.persist().expect("it works");
        media.forget();
        let nothing = Milestone {
            event: 0,
            allowed: Rc::new([content.snapshot().into()]),
            floor: 0,
            verified: 0,
        };
        Self::take_over(setting, media, &content, &nothing, &Snapshots::new(), seed)
    }

    /// Recovers what is there and opens it in the next generation.
    pub(crate) fn take_over(
        setting: Setting,
        media: SimulatedMedia,
        content: &C,
        promised: &Milestone,
        snapshots: &Snapshots,
        seed: u64,
    ) -> Result<Self, String> {
        let medium = media.medium();
        let region = setting.region;
        let source = &mut OnMedium(&medium, region);
        let found = recover(source, region, content, snapshots)?;
        found.seen.keeps(promised)?;
        let Found {
            recovery, content, ..
        } = found;
        let generation = recovery.point.generation + 1;
        let resumed = Writer::resume(region.id, &recovery.point, generation, TIME_NS);
        let (writer, plan) = resumed.map_err(|error| format!("it cannot go on: {error}"))?;
        let mut primary = Self {
            setting,
            media,
            medium,
            writer,
            content: content.clone(),
            states: promised.allowed.to_vec(),
            acknowledged: 0,
            verified: promised.verified,
            snapshots: snapshots.clone(),
            milestones: Vec::new(),
            random: Random::new(seed ^ generation),
        };
        primary.milestones.push(Milestone {
            event: primary.media.events(),
            ..promised.clone()
        });
        primary.post_floor(primary.writer.floor_record(TIME_NS));
        let skipped = usize::from(primary.has(Bug::RepairUnpersisted));
        recovery.settling().skip(skipped).for_each(|step| match step {
            Settling::Persist => primary.persist(),
            Settling::Write(offset, bytes) => primary.post(offset, bytes),
        });
        // What was read will be found again, or something that a torn set yields which the takeover set makes whole.
        let found: State = content.snapshot().into();
        let position = primary.states.iter().position(|state| *state == found);
        primary.acknowledged = position.expect("it was allowed");
        primary.note(promised.floor);
        primary.post_set(&plan, &[]);
        if !primary.has(Bug::TakeoverUnpersisted) {
            primary.persist();
        }
        primary.states = vec![found];
        primary.acknowledged = 0;
        primary.writer.journal_committed(plan.sequence);
        primary.note(primary.writer.floor());
        Ok(primary)
    }

    /// What may be found behind this event.
    pub(crate) fn promised(&self, event: usize) -> &Milestone {
        let at = self
            .milestones
            .partition_point(|milestone| milestone.event <= event);
        &self.milestones[at - 1]
    }

    pub(crate) fn run(mut self, steps: &[Step]) -> Result<Self, String> {
        for step in steps {
            match step {
                Step::Append => self.append_or_save(),
                Step::Commit => self.commit(),
                Step::Save => self.save(),
                Step::Clear => self.clear(),
                Step::Beat => self.beat(),
                Step::Grow(blocks) => self.grow(*blocks),
                Step::Reopen => self = self.reopen()?,
            }
        }
        Ok(self)
    }

    fn append(&mut self) -> Result<(), WriteError> {
        let (payload, next) = self.content.change(&mut self.random);
        let plan = self.writer.append(&payload, TIME_NS)?;
        self.content = next;
        self.planned();
        self.post_set(&plan, &payload);
        Ok(())
    }

    fn append_or_save(&mut self) {
        match self.append() {
            Err(WriteError::JournalFull { .. }) => {
                self.save();
                let appended = self.append();
                // That bug fills the journal again before the save has ended.
                assert!(
                    appended.is_ok() || self.has(Bug::ReuseBeforeVerified),
                    "{appended:?}"
                );
            }
            outcome => outcome.expect("it fits"),
        }
    }

    fn clear(&mut self) {
        let plan = match self.writer.clear(TIME_NS) {
            Err(WriteError::JournalFull { .. }) => {
                self.save();
                self.writer.clear(TIME_NS).expect("a save makes room")
            }
            outcome => outcome.expect("it fits"),
        };
        self.content = self.content.cleared();
        self.planned();
        self.post_set(&plan, &[]);
    }

    fn commit(&mut self) {
        if !self.has(Bug::AcknowledgeBeforePersist) {
            self.persist();
        }
        self.writer.journal_committed(self.writer.last_sequence());
        self.acknowledged = self.states.len() - 1;
        self.note(self.writer.floor());
    }

    fn beat(&mut self) {
        let mut record = self.writer.floor_record(TIME_NS);
        if self.has(Bug::FloorAhead) {
            record.floor = self.writer.last_sequence();
        }
        self.post_floor(record);
    }

    /// Saves, with appends between the phases now and then.
    fn save(&mut self) {
        let payload = self.content.snapshot();
        let covers = self.states.len() - 1;
        let begun = self.writer.begin_snapshot(payload.len() as u64, TIME_NS);
        let plan = begun.expect("it fits, and none is under way");
        self.snapshots.insert(plan.sequence(), payload.as_slice().into());
        let sealed = plan.seal(&plan.checksum().with(&payload));
        if self.has(Bug::ReuseBeforeVerified) {
            self.writer.snapshot_verified(&sealed);
            while self.append().is_ok() {}
        }
        self.place_snapshot(&plan, &sealed, &payload);
        self.writer.snapshot_committed(&sealed);
        // A commit between the phases, or a takeover set, may have acknowledged more.
        self.acknowledged = self.acknowledged.max(covers);
        self.note(self.writer.floor());
        self.sometimes_append();
        let mut seal = vec![0; sealed.publish().1.len()];
        let mut back = payload;
        self.load(sealed.publish().0, &mut seal);
        self.load(sealed.payload().0, &mut back);
        assert!(
            sealed.verify(&seal, &sealed.checksum().with(&back)),
            "nobody else writes"
        );
        self.writer.snapshot_verified(&sealed);
        self.verified = sealed.sequence();
        self.note(self.writer.floor());
    }

    fn place_snapshot(&mut self, plan: &SnapshotPlan, sealed: &SealedSnapshot, payload: &[u8]) {
        if !self.has(Bug::KeepOldSeal) {
            let (offset, zeros) = plan.invalidate();
            self.post(offset, &zeros);
            if !self.has(Bug::InvalidateUnpersisted) {
                self.persist();
            }
        }
        self.sometimes_append();
        let (offset, seal) = sealed.publish();
        if self.has(Bug::SealBeforePayload) {
            self.post(offset, &seal);
            self.persist();
        }
        for (number, piece) in (0u64..).zip(payload.chunks(PIECE_BYTES)) {
            self.post(plan.payload_offset() + number * PIECE_BYTES as u64, piece);
        }
        if !self.has(Bug::SealWithPayload) {
            self.persist();
        }
        self.sometimes_append();
        self.post(offset, &seal);
        self.persist();
    }

    fn grow(&mut self, blocks: u64) {
        self.commit();
        let size = (self.writer.geometry().size + blocks * 4096).min(self.setting.region.len);
        let plan = match self.writer.plan_resize(size) {
            Err(ResizeError::TooLittle { .. }) => {
                self.save();
                self.commit();
                let planned = self.writer.plan_resize(size);
                if matches!(planned, Err(ResizeError::TooLittle { .. })) {
                    return;
                }
                planned
            }
            planned => planned,
        };
        let plan = plan.expect("it grows");
        for copy in plan.copies() {
            let mut bytes = vec![0; usize::try_from(copy.len).expect("small")];
            self.load(copy.from, &mut bytes);
            self.post(copy.to, &bytes);
        }
        if !self.has(Bug::GeometryWithCopies) {
            self.persist();
        }
        let (offset, bytes) = plan.first_control();
        self.post(*offset, bytes);
        if !self.has(Bug::BothControlBlocks) {
            self.persist();
        }
        let (offset, bytes) = plan.second_control();
        self.post(*offset, bytes);
        self.persist();
        self.writer.resized(&plan);
    }

    /// The same trace goes on, so that every cut of it is tried.
    fn reopen(mut self) -> Result<Self, String> {
        self.commit();
        let promised = self.promised(self.media.events()).clone();
        let Self {
            setting,
            media,
            content,
            snapshots,
            mut milestones,
            ..
        } = self;
        let seed = self.random.next_u64();
        let mut next = Self::take_over(setting, media, &content, &promised, &snapshots, seed)?;
        // Milestones of the takeover count the events of the trace that went on.
        milestones.append(&mut next.milestones);
        next.milestones = milestones;
        Ok(next)
    }

    fn sometimes_append(&mut self) {
        if self.random.below(2) == 0 {
            // A full journal is no matter here.
            let _ = self.append();
        }
        if self.random.below(4) == 0 {
            self.commit();
        }
    }

    fn planned(&mut self) {
        self.states.push(self.content.snapshot().into());
        self.note(self.writer.floor());
    }

    fn note(&mut self, floor: u64) {
        self.milestones.push(Milestone {
            event: self.media.events(),
            allowed: self.states[self.acknowledged..].into(),
            floor,
            verified: self.verified,
        });
    }

    fn post_set(&mut self, plan: &SetPlan, payload: &[u8]) {
        if let Some(wrap) = &plan.wrap {
            self.post(wrap.offset, &wrap.header);
        }
        self.post(plan.offset, &[plan.header.as_slice(), payload].concat());
    }

    fn post_floor(&mut self, record: FloorRecord) {
        self.post(FLOOR_OFFSET, &record.encode(self.setting.region.id));
    }

    fn post(&mut self, offset: u64, bytes: &[u8]) {
        let stored = self.medium.store(self.setting.region.start + offset, bytes);
        stored.expect("the medium works");
    }

    fn load(&self, offset: u64, into: &mut [u8]) {
        let loaded = self.medium.load(self.setting.region.start + offset, into);
        loaded.expect("the medium works");
    }

    fn persist(&mut self) {
        self.medium.persist().expect("the medium works");
    }

    fn has(&self, bug: Bug) -> bool {
        self.setting.bug == Some(bug)
    }
}
